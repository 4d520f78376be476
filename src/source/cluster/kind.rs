//! What is watched, and how it differs from kind to kind.

use std::{collections::BTreeSet, sync::Arc};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{self, ObjectName};
use serde::de::DeserializeOwned;

use super::{standing::Standing, store::Models};
use crate::{
    api::{Context, EndpointSlice, Fault, Field, Kind, Metadata, Node, ObjectId, Service, ServiceCidr},
    source::Change,
};

/// A kind of object that is watched.
pub(super) trait Watched: DeserializeOwned + Send + Sync + 'static {
    /// Which.
    const KIND: Kind;
    /// Path of the collection.
    const PATH: &'static str;
    /// Whether the proxy works, if not as well, on a server that does not have the kind.
    const IS_OPTIONAL: bool = false;
    /// What an object is reduced to.
    type Model: PartialEq + Send + Sync;

    /// `metadata`.
    fn metadata(&self) -> &Field<Metadata>;

    /// What of the object matters; nothing if no proxy, or another one, is to handle it.
    ///
    /// # Errors
    /// The first field that makes the object unusable.
    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<Self::Model>, Fault>;

    /// The change that one object makes.
    fn one(name: ObjectName, model: Option<Arc<Self::Model>>, all: &Models<Self>) -> Change;

    /// The change that replaces all objects.
    fn all(all: &Models<Self>) -> Change;

    /// Whether this node is there and stays, if this kind says so.
    fn standing(_all: &Models<Self>) -> Option<Standing> {
        None
    }

    /// When the change began that this object shows.
    fn trigger(&self) -> Option<Timestamp> {
        None
    }
}

fn models<W: Watched>(all: &Models<W>) -> Vec<(ObjectName, Arc<W::Model>)> {
    all.iter().map(|(name, model)| (name.clone(), Arc::clone(model))).collect()
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;
    const PATH: &'static str = "/api/v1/services";
    type Model = model::Service;

    fn metadata(&self) -> &Field<Metadata> {
        &self.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<model::Service>, Fault> {
        Ok(self.to_model(id, context)?.map(|(service, _)| service))
    }

    fn one(name: ObjectName, model: Option<Arc<model::Service>>, _: &Models<Self>) -> Change {
        Change::Service(name, model)
    }

    fn all(all: &Models<Self>) -> Change {
        Change::Services(models(all))
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;
    const PATH: &'static str = "/apis/discovery.k8s.io/v1/endpointslices";
    type Model = model::EndpointSlice;

    fn metadata(&self) -> &Field<Metadata> {
        &self.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<model::EndpointSlice>, Fault> {
        self.to_model(id, context)
    }

    fn one(name: ObjectName, model: Option<Arc<model::EndpointSlice>>, _: &Models<Self>) -> Change {
        Change::Slice(name, model)
    }

    fn all(all: &Models<Self>) -> Change {
        Change::Slices(models(all))
    }

    fn trigger(&self) -> Option<Timestamp> {
        self.metadata.get()?.last_change_trigger()
    }
}

/// What matters of this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ThisNode {
    node: Arc<model::Node>,
    eligible: bool,
}

impl Watched for Node {
    const KIND: Kind = Kind::Node;
    const PATH: &'static str = "/api/v1/nodes";
    type Model = ThisNode;

    fn metadata(&self) -> &Field<Metadata> {
        &self.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<ThisNode>, Fault> {
        let node = Arc::new(self.to_model(id, context)?);
        Ok(Some(ThisNode { node, eligible: self.is_eligible() }))
    }

    fn one(_: ObjectName, model: Option<Arc<ThisNode>>, _: &Models<Self>) -> Change {
        Change::Node(model.map(|this| Arc::clone(&this.node)))
    }

    fn all(all: &Models<Self>) -> Change {
        Change::Node(all.iter().next().map(|(_, this)| Arc::clone(&this.node)))
    }

    fn standing(all: &Models<Self>) -> Option<Standing> {
        Some(match all.iter().next() {
            None => Standing::Missing,
            Some((_, this)) if this.eligible => Standing::Stays,
            Some(_) => Standing::Leaves,
        })
    }
}

impl Watched for ServiceCidr {
    const KIND: Kind = Kind::ServiceCidr;
    const PATH: &'static str = "/apis/networking.k8s.io/v1/servicecidrs";
    // In v1 since Kubernetes 1.33.
    const IS_OPTIONAL: bool = true;
    type Model = Vec<IpNetwork>;

    fn metadata(&self) -> &Field<Metadata> {
        &self.metadata
    }

    fn reduce(&self, id: &ObjectId, context: &mut Context) -> Result<Option<Vec<IpNetwork>>, Fault> {
        self.to_model(id, context).map(Some)
    }

    fn one(_: ObjectName, _: Option<Arc<Vec<IpNetwork>>>, all: &Models<Self>) -> Change {
        Self::all(all)
    }

    fn all(all: &Models<Self>) -> Change {
        let ranges: BTreeSet<IpNetwork> = all.iter().flat_map(|(_, ranges)| ranges.iter().copied()).collect();
        Change::ServiceCidrs(ranges.into_iter().collect())
    }
}
