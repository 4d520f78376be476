//! The objects, their versions and their history.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Resource, object::Object};

/// How many changes are remembered. The API promises none; a real server keeps those of five minutes.
const HISTORY: usize = 100_000;

/// The key of an object: its resource, namespace (empty if it has none) and name.
pub(super) type Key = (Resource, String, String);
pub(super) type Objects = BTreeMap<Key, Arc<Object>>;

/// One change of an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// `resourceVersion` that the change made.
    pub version: u64,
    pub resource: Resource,
    pub before: Option<Arc<Object>>,
    pub after: Option<Arc<Object>>,
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// `resourceVersion` of the whole list.
    pub version: u64,
    pub items: Vec<Arc<Object>>,
    /// Where the next part begins.
    pub next: Option<Key>,
    /// How many objects are in the parts to come.
    pub remaining: usize,
}

/// The requested version was forgotten: 410.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// All objects, with one version for the whole store, which grows with every change.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    version: u64,
    objects: Arc<Objects>,
    /// The changes after `forgotten`, in order.
    history: VecDeque<Change>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    /// The objects at the time when a list in parts began.
    snapshots: BTreeMap<u64, Arc<Objects>>,
}

impl Store {
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Stores an object, whether new or in place of its predecessor, with the metadata that a server adds.
    ///
    /// # Panics
    /// If the object has an unknown kind or no name, or if a real server would refuse it: the test is wrong.
    pub fn put(&mut self, mut object: Value) {
        let resource = Resource::of(&object)
            .unwrap_or_else(|| panic!("{} {} is not stored here", object["apiVersion"], object["kind"]));
        let key = key(resource, &object);
        // A real server refuses a Service with a second address that is not declared dual-stack.
        let spec = &object["spec"];
        let is_single = spec["clusterIPs"].as_array().is_none_or(|ips| ips.len() < 2);
        let is_dual = matches!(spec["ipFamilyPolicy"].as_str(), Some("RequireDualStack" | "PreferDualStack"));
        assert!(
            is_single || is_dual,
            "spec.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack': {object}"
        );
        let before = self.objects.get(&key).cloned();
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        let created = || json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let uid = || json!(format!("00000000-0000-4000-8000-{:012x}", self.version));
        keep(metadata, "creationTimestamp", before.as_deref().map(|before| &**before), created);
        keep(metadata, "uid", before.as_deref().map(|before| &**before), uid);
        let after = Object::new(object);
        Arc::make_mut(&mut self.objects).insert(key, after.clone());
        self.remember(resource, before, Some(after));
    }

    /// Deletes an object; false if it does not exist. As with a real server, the last event about the object carries
    /// the version of its deletion.
    pub fn delete(&mut self, key: &Key) -> bool {
        let Some(before) = Arc::make_mut(&mut self.objects).remove(key) else { return false };
        self.version += 1;
        self.remember(key.0, Some(before), None);
        true
    }

    /// Deletes all objects in a namespace.
    pub fn empty(&mut self, namespace: &str) {
        let keys: Vec<Key> = self.objects.keys().filter(|key| key.1 == namespace).cloned().collect();
        for key in keys {
            self.delete(&key);
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Up to `limit` objects that `wanted` accepts: the first ones, as they are now, or those that continue a list.
    pub fn list(
        &mut self,
        resource: Resource,
        continued: Option<(u64, Key)>,
        limit: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Page, Gone> {
        let (version, objects, start) = match continued {
            None => (self.version, self.objects.clone(), (resource, String::new(), String::new())),
            Some((version, start)) => (version, self.snapshots.get(&version).ok_or(Gone)?.clone(), start),
        };
        let mut items = Vec::new();
        let mut next = None;
        let mut remaining = 0;
        let rest = objects.range(start..).take_while(|(key, _)| key.0 == resource);
        for (key, object) in rest.filter(|(_, object)| wanted(object)) {
            if items.len() == limit {
                next.get_or_insert_with(|| key.clone());
                remaining += 1;
                continue;
            }
            items.push(object.clone());
        }
        if next.is_some() {
            self.snapshots.insert(version, objects);
        }
        Ok(Page { version, items, next, remaining })
    }

    /// The changes after a version.
    pub fn since(&self, version: u64) -> Result<impl Iterator<Item = &Change>, Gone> {
        if version < self.forgotten {
            return Err(Gone);
        }
        let known = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(known..))
    }

    /// Keeps the objects as they were at a version, so that [`Self::list`] can continue from it.
    pub fn keep(&mut self, version: u64) -> Result<(), Gone> {
        let mut objects = Objects::clone(&self.objects);
        let later: Vec<_> = self.since(version)?.cloned().collect();
        for Change { resource, before, after, .. } in later.into_iter().rev() {
            let Some(object) = before.as_ref().or(after.as_ref()) else { continue };
            let key = key(resource, object);
            match before {
                Some(before) => _ = objects.insert(key, before),
                None => _ = objects.remove(&key),
            }
        }
        self.snapshots.insert(version, Arc::new(objects));
        Ok(())
    }

    /// Forgets all history, and the snapshots of lists in progress.
    pub fn compact(&mut self) {
        self.history.clear();
        self.snapshots.clear();
        self.forgotten = self.version;
    }

    fn remember(&mut self, resource: Resource, before: Option<Arc<Object>>, after: Option<Arc<Object>>) {
        self.history.push_back(Change { version: self.version, resource, before, after });
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.version;
            self.snapshots.retain(|version, _| *version >= oldest.version);
        }
    }
}

/// The key of an object.
pub(super) fn key(resource: Resource, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    let name = text("name").unwrap_or_else(|| panic!("an object without a name: {object}"));
    let namespace =
        if resource.is_namespaced() { text("namespace").unwrap_or_default() } else { String::new() };
    assert_eq!(resource.is_namespaced(), !namespace.is_empty(), "the namespace of {object}");
    (resource, namespace, name)
}

/// Sets a field that an object keeps for its lifetime, unless the test has set it.
fn keep(metadata: &mut Value, field: &str, before: Option<&Value>, new: impl FnOnce() -> Value) {
    if metadata[field].is_null() {
        metadata[field] = before.map_or_else(new, |before| before["metadata"][field].clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
               "spec": {"ports": [{"port": port}]}})
    }

    fn named(name: &str) -> Key {
        (Resource::Services, "default".into(), name.into())
    }

    fn names(page: &Page) -> Vec<&str> {
        page.items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }

    #[test]
    fn every_change_has_a_version_and_the_first_makes_what_lasts() {
        let mut store = Store::default();
        store.put(service("a", 80));
        let first = store.get(&named("a")).unwrap().clone();
        store.put(service("a", 81));
        let second = store.get(&named("a")).unwrap();
        assert_eq!(first["metadata"]["resourceVersion"], "1");
        assert_eq!(second["metadata"]["resourceVersion"], "2");
        for lasting in ["uid", "creationTimestamp"] {
            assert!(first["metadata"][lasting].is_string());
            assert_eq!(first["metadata"][lasting], second["metadata"][lasting]);
        }
        assert!(store.delete(&named("a")));
        assert!(!store.delete(&named("a")));
        assert_eq!(store.version(), 3);
    }

    #[test]
    fn a_list_in_parts_is_of_one_moment() {
        let mut store = Store::default();
        for name in ["a", "b", "c"] {
            store.put(service(name, 80));
        }
        let first = store.list(Resource::Services, None, 2, |_| true).unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        store.delete(&named("c"));
        store.put(service("d", 80));
        let at = Some((first.version, first.next.clone().unwrap()));
        let second = store.list(Resource::Services, at.clone(), 2, |_| true).unwrap();
        assert_eq!((names(&second), second.version, &second.next), (vec!["c"], first.version, &None));
        store.compact();
        assert_eq!(store.list(Resource::Services, at, 2, |_| true).unwrap_err(), Gone);
    }

    #[test]
    fn what_was_is_known_until_it_is_forgotten() {
        let mut store = Store::default();
        store.put(service("a", 80));
        store.put(service("b", 80));
        store.put(service("a", 81));
        store.delete(&named("b"));
        store.put(service("c", 80));
        let mut at = |version| {
            store.keep(version)?;
            let start = (Resource::Services, String::new(), String::new());
            let page = store.list(Resource::Services, Some((version, start)), 9, |_| true)?;
            let shown = |object: &Arc<Object>| format!("{}", object["metadata"]["resourceVersion"]);
            Ok::<_, Gone>((names(&page).join(" "), page.items.iter().map(shown).collect::<String>()))
        };
        assert_eq!(at(2).unwrap(), ("a b".to_owned(), "\"1\"\"2\"".to_owned()));
        assert_eq!(at(3).unwrap(), ("a b".to_owned(), "\"3\"\"2\"".to_owned()));
        assert_eq!(at(5).unwrap(), ("a c".to_owned(), "\"3\"\"5\"".to_owned()));
        store.compact();
        assert_eq!(store.keep(3), Err(Gone));
    }

    #[test]
    fn forgotten_history_is_gone_but_the_present_is_known() {
        let mut store = Store::default();
        store.put(service("a", 80));
        store.put(service("b", 80));
        assert_eq!(store.since(1).unwrap().map(|change| change.version).collect::<Vec<_>>(), [2]);
        store.compact();
        assert!(store.since(1).is_err());
        assert_eq!(store.since(2).unwrap().count(), 0);
        store.put(service("c", 80));
        assert_eq!(store.since(2).unwrap().map(|change| change.version).collect::<Vec<_>>(), [3]);
    }
}
