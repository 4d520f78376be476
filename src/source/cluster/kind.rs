//! The kinds of objects that are watched.

use std::{collections::BTreeSet, sync::Arc};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{self, ObjectName};
use serde::{Deserialize, de::DeserializeOwned};

use super::models::Models;
use crate::{
    api::{
        Context, EndpointSlice, Field, FieldError, Kind, Metadata, Node, ObjectId, Service, ServiceCidr,
        protobuf::{self, Schema},
    },
    source::{eligibility::Eligibility, event::Change},
};

/// A kind of object that is watched.
pub(super) trait Watched: DeserializeOwned + Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
    /// Path of the collection.
    const PATH: &'static str;
    /// The fields that are read, in protobuf.
    const SCHEMA: Schema;
    /// Whether the proxy works, though less well, on a server that does not serve the kind.
    const IS_OPTIONAL: bool = false;
    /// The part of an object that matters.
    type Model: PartialEq + Send + Sync;

    /// `metadata`.
    fn metadata(&self) -> &Field<Metadata>;

    /// The model of an object; `None` if no proxy or another proxy handles it.
    ///
    /// # Errors
    /// The first invalid field that makes the object unusable.
    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<Self::Model>, FieldError>;

    /// The change that one object makes.
    fn one(name: ObjectName, model: Option<Arc<Self::Model>>, all: &Models<Self::Model>) -> Change;

    /// The change that replaces all objects.
    fn all(all: &Models<Self::Model>) -> Change;

    /// Whether this node is eligible, if this kind decides it.
    fn eligibility(_all: &Models<Self::Model>) -> Option<Eligibility> {
        None
    }

    /// Whether this node has the taint with this key, if this kind decides it.
    fn has_taint(_all: &Models<Self::Model>, _key: &str) -> Option<bool> {
        None
    }

    /// When the change that led to this object began.
    fn trigger(&self) -> Option<Timestamp> {
        None
    }
}

/// An object of the API as it is read. This type belongs to the source and implements [`Watched`], so that nothing in
/// the API depends on the source.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Object<T>(T);

/// Services.
pub(super) type Services = Object<Service>;
/// EndpointSlices.
pub(super) type EndpointSlices = Object<EndpointSlice>;
/// Nodes.
pub(super) type Nodes = Object<Node>;
/// ServiceCIDRs.
pub(super) type ServiceCidrs = Object<ServiceCidr>;

fn list<M>(all: &Models<M>) -> Vec<(ObjectName, Arc<M>)> {
    all.iter().map(|(name, model)| (name.clone(), Arc::clone(model))).collect()
}

impl Watched for Services {
    const KIND: Kind = Kind::Service;
    const PATH: &'static str = "/api/v1/services";
    const SCHEMA: Schema = protobuf::SERVICE;
    type Model = model::Service;

    fn metadata(&self) -> &Field<Metadata> {
        &self.0.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<model::Service>, FieldError> {
        Ok(self.0.to_model(id, context)?.map(|(service, _)| service))
    }

    fn one(name: ObjectName, model: Option<Arc<model::Service>>, _: &Models<Self::Model>) -> Change {
        Change::Service(name, model)
    }

    fn all(all: &Models<Self::Model>) -> Change {
        Change::Services(list(all))
    }
}

impl Watched for EndpointSlices {
    const KIND: Kind = Kind::EndpointSlice;
    const PATH: &'static str = "/apis/discovery.k8s.io/v1/endpointslices";
    const SCHEMA: Schema = protobuf::ENDPOINT_SLICE;
    type Model = model::EndpointSlice;

    fn metadata(&self) -> &Field<Metadata> {
        &self.0.metadata
    }

    fn reduce(
        &self,
        id: &ObjectId,
        context: &mut Context,
    ) -> Result<Option<model::EndpointSlice>, FieldError> {
        self.0.to_model(id, context)
    }

    fn one(name: ObjectName, model: Option<Arc<model::EndpointSlice>>, _: &Models<Self::Model>) -> Change {
        Change::Slice(name, model)
    }

    fn all(all: &Models<Self::Model>) -> Change {
        Change::Slices(list(all))
    }

    fn trigger(&self) -> Option<Timestamp> {
        self.0.metadata.get()?.last_change_trigger()
    }
}

/// This node, whether it is eligible, and the keys of its taints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ThisNode {
    node: Arc<model::Node>,
    eligible: bool,
    taints: Vec<Box<str>>,
}

impl Watched for Nodes {
    const KIND: Kind = Kind::Node;
    const PATH: &'static str = "/api/v1/nodes";
    const SCHEMA: Schema = protobuf::NODE;
    type Model = ThisNode;

    fn metadata(&self) -> &Field<Metadata> {
        &self.0.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<ThisNode>, FieldError> {
        let node = Arc::new(self.0.to_model(id, context)?);
        let taints = self.0.taints().map(Into::into).collect();
        Ok(Some(ThisNode { node, eligible: self.0.is_eligible(), taints }))
    }

    fn one(_: ObjectName, model: Option<Arc<ThisNode>>, _: &Models<Self::Model>) -> Change {
        Change::Node(model.map(|this| Arc::clone(&this.node)))
    }

    fn all(all: &Models<Self::Model>) -> Change {
        Change::Node(all.iter().next().map(|(_, this)| Arc::clone(&this.node)))
    }

    fn eligibility(all: &Models<ThisNode>) -> Option<Eligibility> {
        Some(match all.iter().next() {
            None => Eligibility::Missing,
            Some((_, this)) => Eligibility::of(this.eligible),
        })
    }

    fn has_taint(all: &Models<ThisNode>, key: &str) -> Option<bool> {
        Some(all.iter().any(|(_, this)| this.taints.iter().any(|taint| **taint == *key)))
    }
}

impl Watched for ServiceCidrs {
    const KIND: Kind = Kind::ServiceCidr;
    const PATH: &'static str = "/apis/networking.k8s.io/v1/servicecidrs";
    const SCHEMA: Schema = protobuf::SERVICE_CIDR;
    // In v1 since Kubernetes 1.33.
    const IS_OPTIONAL: bool = true;
    type Model = Vec<IpNetwork>;

    fn metadata(&self) -> &Field<Metadata> {
        &self.0.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<Vec<IpNetwork>>, FieldError> {
        self.0.to_model(id, context).map(Some)
    }

    fn one(_: ObjectName, _: Option<Arc<Vec<IpNetwork>>>, all: &Models<Self::Model>) -> Change {
        Self::all(all)
    }

    fn all(all: &Models<Self::Model>) -> Change {
        let ranges: BTreeSet<IpNetwork> = all.iter().flat_map(|(_, ranges)| ranges.iter().copied()).collect();
        Change::ServiceCidrs(ranges.into_iter().collect())
    }
}
