//! The objects of one file by name, and the problems with them.

use std::{
    collections::{BTreeMap, hash_map::Entry},
    sync::Arc,
};

use foldhash::HashMap;
use ipnetwork::IpNetwork;
use portolan_rules::model;

use super::{
    document::{Body, Document},
    mistake,
};
use crate::{
    api::{self, Context, Field, FieldError, Kind, Lacks, ObjectId, PodFacts, PodSet, Selection, required},
    source::eligibility::Eligibility,
};

/// A converted object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A Service; `None` if this proxy does not serve it.
    Service(Option<Arc<ServiceEntry>>),
    /// A slice; `None` if this proxy does not use it.
    Slice(Option<Arc<model::EndpointSlice>>),
    Pod(Arc<PodFacts>),
    Node(Arc<model::Node>, Eligibility),
    ServiceCidr(Arc<Vec<IpNetwork>>),
    /// `Endpoints`, as the slices that mirror them.
    Endpoints(Vec<Arc<model::EndpointSlice>>),
    /// The Pods that a `Deployment` or a similar object stands for; `None` if its Pods are separate objects.
    Workload(Option<Arc<PodSet>>),
}

/// A Service, and how it selects Pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceEntry {
    pub service: Arc<model::Service>,
    pub selection: Option<Selection>,
    /// The fields that need stand-ins.
    pub lacks: Option<Box<Lacks>>,
}

/// The objects of a file, or of a part of one.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// All valid objects.
    pub objects: HashMap<ObjectId, Object>,
    /// Objects of kinds that do not matter, counted.
    pub ignored: BTreeMap<Box<str>, usize>,
    /// Why objects, or the file, cannot be used.
    pub errors: Vec<FileProblem>,
    /// Parts of valid objects that are ignored.
    pub warnings: Vec<FileProblem>,
}

/// A problem with a file or an object in it. Together with the name of the file, it is a
/// [`Problem`](super::problem::Problem).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileProblem {
    /// The file cannot be read, or is too large.
    Unread(String),
    /// The text is invalid at this line, counted from 1.
    Text { line: Option<u64>, message: String },
    /// An object without a valid name: its kind if known, its place in the file, the field.
    Nameless { kind: Option<Kind>, place: String, error: FieldError },
    /// An object is invalid, or a part of it is ignored.
    Object(api::Problem),
}

impl Contents {
    /// The contents of a file that cannot be used at all.
    pub fn broken(finding: FileProblem) -> Self {
        Self { errors: vec![finding], ..Self::default() }
    }

    /// Whether the file is empty: it has no object of any kind, and no error.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.ignored.is_empty() && self.errors.is_empty()
    }

    /// Adds the contents of a later part of the same file; later objects replace earlier ones.
    pub fn append(&mut self, later: Self) {
        let Self { objects, ignored, errors, warnings } = later;
        if self.objects.is_empty() {
            self.objects = objects;
        } else {
            for (id, object) in objects {
                self.insert(id, object);
            }
        }
        for (kind, count) in ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
        self.errors.extend(errors);
        self.warnings.extend(warnings);
    }

    fn insert(&mut self, id: ObjectId, object: Object) {
        match self.objects.entry(id) {
            Entry::Vacant(entry) => _ = entry.insert(object),
            Entry::Occupied(mut entry) => {
                let error = FieldError::new("metadata.name", "is in this file twice; the later one is used");
                self.warnings.push(FileProblem::Object(api::Problem { object: entry.key().clone(), error }));
                entry.insert(object);
            }
        }
    }

    /// Converts a document and adds its object.
    pub fn add(&mut self, place: &dyn Fn() -> String, mut document: Document, context: &mut Context) {
        let Some((kind, metadata)) = document.body.metadata() else {
            return self.add_other(place, &document);
        };
        // Workloads do not matter where Pods have no stand-ins.
        if kind.is_workload() && !context.has_stand_ins {
            return self.ignore(&document.kind);
        }
        match is_served(kind, &document.api_version) {
            Ok(true) => {}
            Ok(false) => return self.ignore(&document.kind),
            Err(error) => return self.nameless(Some(kind), place(), error),
        }
        let metadata = required(&*metadata, "metadata");
        let id = match metadata.and_then(|metadata| metadata.identify(kind, context)) {
            Ok(id) => id,
            Err(error) => return self.nameless(Some(kind), place(), error),
        };
        let object = convert(&document.body, &id, context);
        self.warnings.extend(context.warnings.drain(..).map(FileProblem::Object));
        match object {
            Ok(object) => self.insert(id, object),
            Err(error) => self.errors.push(FileProblem::Object(api::Problem { object: id, error })),
        }
    }

    /// Notes a document without an object that matters.
    fn add_other(&mut self, place: &dyn Fn() -> String, document: &Document) {
        let (field, message) = match &document.body {
            Body::NotAnObject(found) => ("", format!("expected a Kubernetes object, found {found}")),
            Body::NoKind => match &document.kind {
                Field::Wrong(found) => ("kind", format!("expected text, found {found}")),
                Field::Absent | Field::Value(_) => ("kind", "is missing".to_owned()),
            },
            _ if is_answer(document) => {
                let why = document.message.get().map(|message| format!(": {message}")).unwrap_or_default();
                ("", format!("is a Status, which the API server sends in place of objects{why}"))
            }
            _ if is_kustomization(document) => ("", mistake::A_KUSTOMIZATION.to_owned()),
            _ => {
                self.warn_of_similar(document, place);
                return self.ignore(&document.kind);
            }
        };
        self.nameless(None, place(), FieldError::new(field, message));
    }

    fn ignore(&mut self, kind: &Field<Box<str>>) {
        let Some(kind) = kind.get() else { return };
        *self.ignored.entry(kind.clone()).or_default() += 1;
    }

    /// Warns of an unknown kind whose name is similar to that of a known kind, such as `service`.
    fn warn_of_similar(&mut self, document: &Document, place: &dyn Fn() -> String) {
        let (Some(name), Some(version)) = (document.kind.get(), document.api_version.get()) else { return };
        let Some(kind) = similar_kind(name, version) else { return };
        let error =
            FieldError::new("kind", format_args!("{name} is unknown and left out; did you mean {kind}?"));
        self.warnings.push(FileProblem::Nameless { kind: None, place: place(), error });
    }

    fn nameless(&mut self, kind: Option<Kind>, place: String, error: FieldError) {
        self.errors.push(FileProblem::Nameless { kind, place, error });
    }
}

/// The kind of this group and version whose name was probably misspelt.
fn similar_kind(name: &str, version: &str) -> Option<Kind> {
    let lower = name.to_lowercase();
    let distance = |kind: &Kind| strsim::osa_distance(&lower, &kind.name().to_lowercase());
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.api_version() == version);
    // Short names are similar to many others.
    kinds.min_by_key(distance).filter(|kind| distance(kind) <= if kind.name().len() > 5 { 2 } else { 1 })
}

/// Whether a document is the API server's answer to a failed request (`metav1.Status`).
fn is_answer(document: &Document) -> bool {
    document.kind.get().is_some_and(|kind| &**kind == "Status")
        && document.api_version.get().is_none_or(|version| &**version == "v1")
}

/// Whether a document is a kustomization, or a component of one. Other groups have kinds with the same name.
fn is_kustomization(document: &Document) -> bool {
    document.api_version.get().is_some_and(|version| version.starts_with("kustomize.config.k8s.io/"))
}

/// Whether the kind belongs to the group that matters. Other groups have kinds with the same name.
fn is_served(kind: Kind, api_version: &Field<Box<str>>) -> Result<bool, FieldError> {
    const FIELD: &str = "apiVersion";
    let version = &**required(api_version, FIELD)?;
    Ok(match kind {
        Kind::EndpointSlice => match version {
            "discovery.k8s.io/v1" => true,
            // v1beta1 has topology in other fields; reading it as v1 would be partly wrong.
            "discovery.k8s.io/v1beta1" => {
                let message =
                    "discovery.k8s.io/v1beta1 was removed in Kubernetes 1.25; use discovery.k8s.io/v1";
                return Err(FieldError::new(FIELD, message));
            }
            _ => false,
        },
        Kind::ServiceCidr => version.starts_with("networking.k8s.io/"),
        // Older versions have the same fields, and people still write them.
        Kind::CronJob => version.starts_with("batch/"),
        kind => version == kind.api_version(),
    })
}

fn convert(body: &Body, id: &ObjectId, context: &mut Context) -> Result<Object, FieldError> {
    Ok(match body {
        Body::Service(object) => {
            Object::Service(object.to_model(id, context)?.map(|(service, selection)| {
                let lacks = context.has_stand_ins.then(|| object.lacks());
                let lacks = lacks.filter(|lacks| !lacks.is_empty()).map(Box::new);
                Arc::new(ServiceEntry { service: Arc::new(service), selection, lacks })
            }))
        }
        Body::EndpointSlice(object) => Object::Slice(object.to_model(id, context)?.map(Arc::new)),
        Body::Pod(object) => Object::Pod(Arc::new(object.to_model(id, context)?)),
        Body::Node(object) => {
            let eligibility = Eligibility::of(object.is_eligible());
            Object::Node(Arc::new(object.to_model(id, context)?), eligibility)
        }
        Body::ServiceCidr(object) => Object::ServiceCidr(Arc::new(object.to_model(id, context)?)),
        Body::Endpoints(object) => {
            Object::Endpoints(object.to_model(id, context)?.into_iter().map(Arc::new).collect())
        }
        Body::Workload(_, object) => Object::Workload(object.to_model(id, context)?),
        Body::Other | Body::NoKind | Body::NotAnObject(_) => {
            return Err(FieldError::new("kind", "is not a kind that is converted"));
        }
    })
}
