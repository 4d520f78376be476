//! Changes of JSON objects, for tests.

use serde_json::Value;

/// Sets what a pointer such as `/spec/ports/0/name` points at, whether or not it was there.
///
/// # Panics
/// If there is nothing to set it in: the test is wrong.
pub(super) fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("what holds it");
    match key.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[key] = value,
    }
}
