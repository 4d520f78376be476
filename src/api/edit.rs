//! Changes of JSON objects, for tests.

use serde_json::Value;

/// Sets the value at a pointer such as `/spec/ports/0/name`, whether or not there was a value.
///
/// # Panics
/// If the parent of the value does not exist: the test is wrong.
pub(super) fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("what holds it");
    match key.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[key] = value,
    }
}
