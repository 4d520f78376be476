//! Objects with a template of Pods, such as a `Deployment`, and the Pods that a cluster would create for them.

use std::sync::Arc;

use super::{
    context::{Context, FieldError, Kind, ObjectId, Result, read, read_or_default, required},
    field::{Field, objects},
    metadata::Metadata,
    pod::{Pod, PodFacts, PodSpec},
};

objects! {
    /// A `Deployment`, `StatefulSet`, `DaemonSet`, `ReplicaSet`, `ReplicationController`, `Job` or `CronJob`.
    pub struct Workload {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<WorkloadSpec>,
    }

    /// `spec` of a [`Workload`].
    pub struct WorkloadSpec {
        /// `replicas`; 1 if absent.
        pub replicas: Field<i64>,
        /// `parallelism` of a `Job`; 1 if absent.
        pub parallelism: Field<i64>,
        /// `template`.
        pub template: Field<PodTemplate>,
        /// `jobTemplate` of a `CronJob`.
        pub job_template: Field<JobTemplate>,
    }

    /// A template of Pods.
    pub struct PodTemplate {
        /// `metadata`, of which only labels count.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<PodSpec>,
    }

    /// `spec.jobTemplate` of a `CronJob`.
    pub struct JobTemplate {
        /// `spec`.
        pub spec: Field<JobSpec>,
    }

    /// `spec` of a [`JobTemplate`].
    pub struct JobSpec {
        /// `parallelism`; 1 if absent.
        pub parallelism: Field<i64>,
        /// `template`.
        pub template: Field<PodTemplate>,
    }
}

/// The Pods that a workload stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSet {
    /// How many Pods.
    pub count: PodCount,
    /// The facts that the Pods have in common, without addresses.
    pub pod: PodFacts,
}

/// How many Pods a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCount {
    /// This many.
    Number(u32),
    /// One on each Node, as for a `DaemonSet`.
    OnEachNode,
}

impl Workload {
    /// The Pods that a cluster would create; `None` for an object that was read from a cluster, where its Pods exist.
    ///
    /// # Errors
    /// The first field that makes the object unusable.
    pub fn to_model(&self, object: &ObjectId, context: &mut Context) -> Result<Option<Arc<PodSet>>> {
        if self.metadata.get().is_some_and(Metadata::is_from_a_cluster) {
            return Ok(None);
        }
        let spec = read_or_default(&self.spec, "spec")?;
        let (job, job_spec);
        let (path, template, count) = match object.kind {
            Kind::CronJob => {
                job = read_or_default(&spec.job_template, "spec.jobTemplate")?;
                job_spec = read_or_default(&job.spec, "spec.jobTemplate.spec")?;
                let path = "spec.jobTemplate.spec";
                (path, &job_spec.template, number(&job_spec.parallelism, &format!("{path}.parallelism"))?)
            }
            Kind::Job => ("spec", &spec.template, number(&spec.parallelism, "spec.parallelism")?),
            Kind::DaemonSet => ("spec", &spec.template, PodCount::OnEachNode),
            _ => ("spec", &spec.template, number(&spec.replicas, "spec.replicas")?),
        };
        let path = format!("{path}.template");
        let template = required(template, &path)?;
        let pod = Pod { metadata: template.metadata.clone(), spec: template.spec.clone(), ..Pod::default() };
        let pod = pod.to_model(object, context).map_err(|FieldError { field, message }| FieldError {
            field: format!("{path}.{field}"),
            message,
        })?;
        Ok(Some(Arc::new(PodSet { count, pod })))
    }
}

/// `replicas` or `parallelism`.
fn number(field: &Field<i64>, path: &str) -> Result<PodCount> {
    let number = read(field, path)?.copied().unwrap_or(1);
    let number = u32::try_from(number);
    number.map(PodCount::Number).map_err(|_| FieldError::new(path, "is not a number of Pods"))
}
