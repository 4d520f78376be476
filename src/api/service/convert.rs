//! From the API's Service to the model's.

use std::sync::Arc;

use portolan_rules::model::{self, ServiceType, TrafficPolicy};

use super::{
    addresses::{lenient, source_range},
    object::{Service, ServicePort, ServiceSpec},
    selection::Selection,
};
use crate::api::{
    address::parse_usable,
    context::{Context, FieldError, ObjectId, Result, read, read_or_default, required},
    field::Field,
    metadata::{Label, Metadata},
    port::{choice, port_number},
    unknown::message,
};

/// Whether Services of this type have node ports.
pub(super) fn has_node_ports(r#type: ServiceType) -> bool {
    r#type != ServiceType::ClusterIp
}

const POLICIES: [(&str, TrafficPolicy); 2] =
    [("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)];

impl Service {
    /// The model's Service, and how it selects Pods, if it does. `None` if no proxy or another proxy handles the
    /// Service: it is headless, an `ExternalName`, not yet given a `ClusterIP`, or another proxy's by its label
    /// `service.kubernetes.io/service-proxy-name`. With [`Context::has_stand_ins`], a Service without a `ClusterIP` is
    /// returned without addresses; see [`Self::lacks`].
    ///
    /// # Errors
    /// The first field that no API server would have accepted: the object is unusable.
    pub fn to_model(
        &self,
        object: &ObjectId,
        context: &mut Context,
    ) -> Result<Option<(model::Service, Option<Selection>)>> {
        let metadata = Metadata::read(&self.metadata)?;
        if context.is_foreign_service(metadata.label(Label::ProxyName)) {
            return Ok(None);
        }
        let spec = required(&self.spec, "spec")?;
        // An object that an API server has accepted has only fields of the server's version.
        if !metadata.is_from_a_cluster() {
            spec.warn_of_unknown(object, context);
        }
        let Some(r#type) = spec.service_type()?.filter(|_| !spec.is_headless()) else { return Ok(None) };
        let cluster_ips = spec.cluster_ips()?;
        let ports = spec.ports(r#type, object, context)?;
        let selection = self.selection(spec, r#type, object, context)?;
        let external_ips = lenient(&spec.external_ips, "spec.externalIPs", object, context, parse_usable)?;
        let internal_policy = choice(&spec.internal_traffic_policy, "spec.internalTrafficPolicy", &POLICIES)?;
        let external_policy = spec.external_policy(r#type)?;
        let (ranges, path) = (&spec.load_balancer_source_ranges, "spec.loadBalancerSourceRanges");
        let source_ranges = lenient(ranges, path, object, context, source_range)?;
        let affinity_timeout = spec.affinity_timeout()?;
        let load_balancer_ips = self.load_balancer_ips(object, context)?;
        if cluster_ips.is_empty() && !context.has_stand_ins {
            let message = "is not set; without one (an API server allocates it) the Service is not served";
            context.warn(object, "spec.clusterIP", message);
            return Ok(None);
        }
        let health_check_node_port =
            if r#type == ServiceType::LoadBalancer && external_policy == TrafficPolicy::Local {
                spec.health_check_node_port(object, context)?
            } else {
                None
            };
        let service = model::Service {
            name: object.name.clone(),
            created: metadata.created(object, context),
            service_type: r#type,
            cluster_ips,
            external_ips,
            load_balancer_ips,
            source_ranges,
            internal_policy,
            external_policy,
            affinity_timeout,
            load_balancing: metadata.annotations().load_balancing(object, context),
            health_check_node_port,
            ports,
        };
        Ok(Some((service, selection)))
    }

    /// How Pods are selected; `None` without a selector, in which case the user or another controller writes slices.
    fn selection(
        &self,
        spec: &ServiceSpec,
        r#type: ServiceType,
        object: &ObjectId,
        context: &mut Context,
    ) -> Result<Option<Selection>> {
        let targets = spec.target_ports()?;
        let publish_not_ready =
            *read_or_default(&spec.publish_not_ready_addresses, "spec.publishNotReadyAddresses")?;
        let Some(selector) = read(&spec.selector, "spec.selector")?.filter(|labels| !labels.0.is_empty())
        else {
            return Ok(None);
        };
        let mut labels = Vec::with_capacity(selector.0.len());
        for (name, value) in &selector.0 {
            let value = read(value, format_args!("spec.selector[{name}]"))?.map_or("", |text| text);
            // Most often, the value is the Service's own name, of which there is already a copy.
            let is_own_name = *value == *object.name.name;
            let value = if is_own_name { Arc::clone(&object.name.name) } else { Arc::from(value) };
            labels.push((context.intern(name), value));
        }
        Ok(Some(Selection {
            labels,
            targets,
            publish_not_ready,
            is_load_balancer: r#type == ServiceType::LoadBalancer,
            has_load_balancer: self.has_load_balancer(),
        }))
    }
}

impl ServiceSpec {
    /// Warns of keys that the API does not have.
    fn warn_of_unknown(&self, object: &ObjectId, context: &mut Context) {
        for key in &self.unknown {
            context.warn(object, format_args!("spec.{key}"), message(key, &Self::KEYS, "spec"));
        }
        let ports = self.ports.get().into_iter().flatten().filter_map(Field::get);
        for (i, port) in ports.enumerate() {
            for key in &port.unknown {
                let message = message(key, &ServicePort::KEYS, "a port");
                context.warn(object, format_args!("spec.ports[{i}].{key}"), message);
            }
        }
    }

    /// `spec.type`; `None` if it is `ExternalName`.
    pub(super) fn service_type(&self) -> Result<Option<ServiceType>> {
        let [cluster_ip, node_port, load_balancer] =
            ServiceType::ALL.map(|r#type| (r#type.name(), Some(r#type)));
        let types = [cluster_ip, node_port, load_balancer, ("ExternalName", None)];
        choice(&self.r#type, "spec.type", &types)
    }

    /// The policy applies to node ports, load balancers and external IPs only.
    fn external_policy(&self, r#type: ServiceType) -> Result<TrafficPolicy> {
        let policy = choice(&self.external_traffic_policy, "spec.externalTrafficPolicy", &POLICIES)?;
        let has_external_ips = self.external_ips.get().is_some_and(|ips| !ips.is_empty());
        let counts = has_node_ports(r#type) || has_external_ips;
        Ok(if counts { policy } else { TrafficPolicy::Cluster })
    }

    /// `healthCheckNodePort`, which the API server allocates.
    fn health_check_node_port(&self, object: &ObjectId, context: &mut Context) -> Result<Option<u16>> {
        const FIELD: &str = "spec.healthCheckNodePort";
        match read(&self.health_check_node_port, FIELD)? {
            Some(&number) if number != 0 => port_number(number, FIELD).map(Some),
            _ if context.has_stand_ins => Ok(None),
            _ => {
                let message = "is not set; load balancers cannot ask this node whether it has endpoints";
                context.warn(object, FIELD, message);
                Ok(None)
            }
        }
    }

    fn affinity_timeout(&self) -> Result<Option<u32>> {
        const FIELD: &str = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        /// API default, three hours.
        const DEFAULT: u32 = 10_800;
        /// API maximum, one day.
        const MAXIMUM: u32 = 86_400;
        let is_sticky =
            choice(&self.session_affinity, "spec.sessionAffinity", &[("None", false), ("ClientIP", true)])?;
        if !is_sticky {
            return Ok(None);
        }
        let config = read_or_default(&self.session_affinity_config, "spec.sessionAffinityConfig")?;
        let client_ip = read_or_default(&config.client_ip, "spec.sessionAffinityConfig.clientIP")?;
        let Some(&seconds) = read(&client_ip.timeout_seconds, FIELD)? else { return Ok(Some(DEFAULT)) };
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=MAXIMUM) => Ok(Some(seconds)),
            _ => Err(FieldError::new(FIELD, format_args!("{seconds} is not a number from 1 to {MAXIMUM}"))),
        }
    }
}
