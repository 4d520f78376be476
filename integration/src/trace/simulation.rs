//! What happens in the cluster over time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use super::{
    Phase, Plan, Step, Write,
    cluster::{Cluster, Condition, Pod, ZONES},
    rollout::{Rollout, Turn},
    slices::Listed,
};

/// The times from a pod's creation to its address, from there to readiness, and from its deletion to its end, in
/// milliseconds.
const ADDRESS: RangeInclusive<u64> = 1_000..=3_000;
const READY: RangeInclusive<u64> = 2_000..=10_000;
const END: RangeInclusive<u64> = 1_000..=10_000;
/// How soon after becoming ready a failing pod fails, and how many pods there are per failing pod.
const FAILS: RangeInclusive<u64> = 1_000..=5_000;
const ONE_FAILS: u32 = 20;
/// How long a failed probe makes a pod not ready.
const RECOVERY: u64 = 1_000;
/// The time between two failed probes anywhere.
const PROBES: u64 = 200;
/// The time between two writes of the node's status.
const STATUS: u64 = 10_000;
/// The time between two creations of Services.
const CREATION: u64 = 10;
/// The time within which the nodes of a zone fall silent, or return.
const ZONE: RangeInclusive<u64> = 0..=5_000;
/// The time between two Services that the controller of slices handles.
const CONTROLLER: u64 = 2;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Occurrence {
    /// The Deployment of an application begins to replace its pods.
    Rollout(u32),
    /// A pod has its address.
    Placed(u32, Pod),
    Ready(u32, u32),
    NotReady(u32, u32),
    /// A pod has ended.
    Ended(u32, u32),
    /// A node falls silent.
    Lost(u32),
    Back(u32),
    /// A Service is created.
    Created,
    /// A pod fails a probe.
    Probe,
    /// The pod passes the probe again.
    Recovered(u32, u32),
    Status,
}

impl Occurrence {
    /// Whether the event recurs while other things happen.
    const fn is_background(self) -> bool {
        matches!(self, Self::Probe | Self::Status)
    }
}

/// A simulated cluster. Times are in milliseconds.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    cluster: Cluster,
    now: u64,
    /// When the phase began.
    began: u64,
    /// Future events; of two at the same time, the one noted first comes first.
    events: BinaryHeap<Reverse<(u64, u64, Occurrence)>>,
    noted: u64,
    /// How many of these events are not in the background, and how many of those are recoveries from background events.
    foreground: usize,
    recovering: usize,
    rollouts: BTreeMap<u32, Rollout>,
    lost: BTreeSet<u32>,
    /// The Services that wait for the controller of slices, and when it handles the next.
    waiting: VecDeque<u32>,
    is_waiting: BTreeSet<u32>,
    next_turn: u64,
    statuses: u32,
}

impl Simulation {
    /// A cluster before anything happens.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            cluster: Cluster::new(&plan),
            now: 0,
            began: 0,
            events: BinaryHeap::new(),
            noted: 0,
            foreground: 0,
            recovering: 0,
            rollouts: BTreeMap::new(),
            lost: BTreeSet::new(),
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
            next_turn: 0,
            statuses: 0,
        }
    }

    /// All current Services and slices.
    pub fn objects(&self) -> impl Iterator<Item = Write> {
        (0..).zip(&self.cluster.applications).flat_map(|(service, application)| {
            let slices = application.slices.iter();
            let slices = slices.map(move |(number, listed)| slice(service, number, Some(listed)));
            std::iter::once(Write::Service(service)).chain(slices)
        })
    }

    /// The number of endpoints that the slices list now.
    pub fn endpoints(&self) -> usize {
        self.cluster.applications.iter().flat_map(|it| it.slices.iter()).map(|(_, listed)| listed.len()).sum()
    }

    /// Begins a phase; the previous one has ended.
    pub fn begin(&mut self, phase: Phase) {
        self.began = self.now;
        match phase {
            Phase::Rollouts => {
                // Candidates are neither the smallest nor the largest.
                let of_middle_size =
                    |(_, it): &(u32, &super::cluster::Application)| (10..=200).contains(&it.replicas);
                let applications = (0..).zip(&self.cluster.applications);
                let mut candidates: Vec<u32> =
                    applications.filter(of_middle_size).map(|(number, _)| number).collect();
                self.cluster.rng.shuffle(&mut candidates);
                for application in candidates.into_iter().take(self.plan.rollouts as usize) {
                    self.after(0..=1_000, Occurrence::Rollout(application));
                }
            }
            Phase::ZoneLost => self.cluster.zone(0).for_each(|node| self.after(ZONE, Occurrence::Lost(node))),
            Phase::ZoneBack => self.cluster.zone(0).for_each(|node| self.after(ZONE, Occurrence::Back(node))),
            Phase::Created => {
                for number in 0..u64::from(self.plan.created) {
                    self.note(self.now + number * CREATION, Occurrence::Created);
                }
            }
        }
        self.note(self.now + PROBES, Occurrence::Probe);
        self.note(self.now + STATUS, Occurrence::Status);
    }

    /// The next writes; `None` at the end of the phase.
    pub fn next_step(&mut self) -> Option<Step> {
        loop {
            let turn = self.waiting.front().map(|_| self.next_turn.max(self.now));
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            if turn.is_none() && self.foreground == 0 {
                self.events.clear();
                return None;
            }
            let writes = match (event, turn) {
                (Some(event), turn) if turn.is_none_or(|turn| event <= turn) => self.happen(),
                _ => self.take_turn(turn?),
            };
            if !writes.is_empty() {
                return Some(Step { at: Duration::from_millis(self.now - self.began), writes });
            }
        }
    }

    /// The controller of slices handles the next Service.
    fn take_turn(&mut self, at: u64) -> Vec<Write> {
        self.now = at;
        self.next_turn = at + CONTROLLER;
        let Some(service) = self.waiting.pop_front() else { return Vec::new() };
        self.is_waiting.remove(&service);
        let written = self.cluster.applications[service as usize].sync();
        written.into_iter().map(|(number, listed)| slice(service, number, listed)).collect()
    }

    /// Processes the next event.
    fn happen(&mut self) -> Vec<Write> {
        let Some(Reverse((at, _, event))) = self.events.pop() else { return Vec::new() };
        self.now = at;
        self.foreground -= usize::from(!event.is_background());
        match event {
            Occurrence::Rollout(application) => {
                let rollout = Rollout::new(&self.cluster.applications[application as usize]);
                self.rollouts.insert(application, rollout);
                self.roll(application);
            }
            Occurrence::Placed(application, pod) => {
                self.cluster.place(application, pod);
                self.wait(application);
                self.after(READY, Occurrence::Ready(application, pod.number));
                if self.cluster.rng.u32(0..ONE_FAILS) == 0 {
                    let fails = self.cluster.rng.u64(FAILS) + READY.end();
                    self.note(self.now + fails, Occurrence::NotReady(application, pod.number));
                }
            }
            Occurrence::Ready(application, pod) => self.recover(application, pod),
            Occurrence::NotReady(application, pod) => {
                self.set(application, pod, Condition::NotReady);
                self.note(self.now + RECOVERY, Occurrence::Ready(application, pod));
            }
            Occurrence::Ended(application, pod) => {
                self.cluster.end(application, pod);
                self.wait(application);
            }
            Occurrence::Lost(node) => {
                self.lost.insert(node);
                for (application, pod) in self.cluster.pods_on(node) {
                    self.set(application, pod, Condition::NotReady);
                }
            }
            Occurrence::Back(node) => {
                self.lost.remove(&node);
                for (application, pod) in self.cluster.pods_on(node) {
                    self.set(application, pod, Condition::Ready);
                }
            }
            Occurrence::Created => {
                let application = self.cluster.create();
                self.wait(application);
                for _ in 0..self.cluster.applications[application as usize].replicas {
                    self.start(application);
                }
                return vec![Write::Service(application)];
            }
            Occurrence::Probe => {
                // Once nothing else happens, probes no longer fail.
                if self.foreground > self.recovering {
                    if let Some((application, pod)) = self.cluster.any_ready() {
                        self.set(application, pod, Condition::NotReady);
                        self.recovering += 1;
                        self.note(self.now + RECOVERY, Occurrence::Recovered(application, pod));
                    }
                    self.note(self.now + PROBES, Occurrence::Probe);
                }
            }
            Occurrence::Recovered(application, pod) => {
                self.recovering -= 1;
                self.recover(application, pod);
            }
            Occurrence::Status => {
                self.statuses += 1;
                self.note(self.now + STATUS, Occurrence::Status);
                return vec![Write::NodeStatus(self.statuses)];
            }
        }
        Vec::new()
    }

    /// Lets the Deployment's controller take the next actions of a rolling update, if there is one.
    fn roll(&mut self, application: u32) {
        let Some(rollout) = self.rollouts.get_mut(&application) else { return };
        let Turn { created, deleted } = rollout.turn(&self.cluster.applications[application as usize]);
        for pod in deleted {
            self.set(application, pod, Condition::Terminating);
            self.after(END, Occurrence::Ended(application, pod));
        }
        for _ in 0..created {
            let pod = self.start(application);
            if let Some(rollout) = self.rollouts.get_mut(&application) {
                rollout.created(pod);
            }
        }
        let applications = &self.cluster.applications;
        self.rollouts.retain(|number, rollout| !rollout.is_done(&applications[*number as usize]));
    }

    /// Starts a pod; returns its number.
    fn start(&mut self, application: u32) -> u32 {
        let pod = self.cluster.pod();
        self.after(ADDRESS, Occurrence::Placed(application, pod));
        pod.number
    }

    fn set(&mut self, application: u32, pod: u32, condition: Condition) {
        if self.cluster.set(application, pod, condition) {
            self.wait(application);
            if condition != Condition::Terminating {
                self.roll(application);
            }
        }
    }

    /// A pod passes its probe, unless its node is lost.
    fn recover(&mut self, application: u32, pod: u32) {
        let pods = &self.cluster.applications[application as usize].pods;
        if pods.get(&pod).is_some_and(|(pod, _)| !self.lost.contains(&pod.node)) {
            self.set(application, pod, Condition::Ready);
        }
    }

    /// Enqueues a Service for the controller of slices.
    fn wait(&mut self, application: u32) {
        if self.is_waiting.insert(application) {
            self.waiting.push_back(application);
        }
    }

    fn after(&mut self, wait: RangeInclusive<u64>, event: Occurrence) {
        let wait = self.cluster.rng.u64(wait);
        self.note(self.now + wait, event);
    }

    fn note(&mut self, at: u64, event: Occurrence) {
        self.foreground += usize::from(!event.is_background());
        self.noted += 1;
        self.events.push(Reverse((at, self.noted, event)));
    }

    /// Whether nothing is in progress: every Deployment has its pods, all of them are ready, and the slices list
    /// exactly these.
    pub fn is_consistent(&self) -> bool {
        self.rollouts.is_empty()
            && self.cluster.applications.iter().all(|application| {
                let listed: Listed =
                    application.slices.iter().flat_map(|(_, listed)| listed.clone()).collect();
                listed == application.pods
                    && application.pods.len() as u32 == application.replicas
                    && application.pods.values().all(|(pod, condition)| {
                        *condition == Condition::Ready
                            || self.lost.contains(&pod.node) && pod.node % ZONES == 0
                    })
            })
    }
}

fn slice(service: u32, number: u32, listed: Option<&Listed>) -> Write {
    Write::Slice { service, number, endpoints: listed.map(|listed| listed.values().copied().collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 7, nodes: 300, services: 300, rollouts: 10, created: 20 };

    /// All writes of all phases.
    fn trace(plan: Plan) -> (Vec<Write>, Vec<Vec<Step>>, Simulation) {
        let mut simulation = Simulation::new(plan);
        let start = simulation.objects().collect();
        let phases = Phase::ALL.map(|phase| {
            simulation.begin(phase);
            let steps = std::iter::from_fn(|| simulation.next_step()).collect();
            assert!(simulation.is_consistent(), "after {phase:?}");
            steps
        });
        (start, phases.into(), simulation)
    }

    #[test]
    fn the_same_seed_makes_the_same_trace() {
        let (start, phases, _) = trace(PLAN);
        let (again, phases_again, _) = trace(PLAN);
        assert_eq!(start, again);
        assert!(phases == phases_again);
        let (other, ..) = trace(Plan { seed: 8, ..PLAN });
        assert_ne!(start, other);
    }

    #[test]
    fn what_is_written_leads_to_what_there_is_at_the_end() {
        for seed in 0..5 {
            let (start, phases, simulation) = trace(Plan { seed, ..PLAN });
            let mut objects = BTreeMap::new();
            let key = |write: &Write| match write {
                Write::Service(number) => Some((*number, None)),
                Write::Slice { service, number, .. } => Some((*service, Some(*number))),
                Write::NodeStatus(_) => None,
            };
            for write in start.into_iter().chain(phases.iter().flatten().flat_map(|step| step.writes.clone()))
            {
                let Some(key) = key(&write) else { continue };
                if write.is_deletion() {
                    assert!(objects.remove(&key).is_some(), "it was there: {write:?}");
                } else {
                    objects.insert(key, write);
                }
            }
            let end: Vec<Write> = simulation.objects().collect();
            assert_eq!(objects.len(), end.len());
            assert!(end.iter().all(|write| key(write).and_then(|key| objects.get(&key)) == Some(write)));
            for steps in &phases {
                assert!(steps.is_sorted_by_key(|step| step.at), "time does not go back");
                assert!(!steps.is_empty());
            }
        }
    }

    #[test]
    fn no_slice_lists_more_than_a_hundred_and_no_address_twice() {
        let (start, phases, _) = trace(PLAN);
        for write in start.iter().chain(phases.iter().flatten().flat_map(|step| &step.writes)) {
            let Write::Slice { endpoints: Some(endpoints), .. } = write else { continue };
            assert!(endpoints.len() <= 100);
            let addresses: BTreeSet<_> = endpoints.iter().map(|(pod, _)| pod.address).collect();
            assert_eq!(addresses.len(), endpoints.len());
        }
    }

    #[test]
    fn a_rolling_update_keeps_three_quarters_of_the_pods_available() {
        let mut simulation = Simulation::new(PLAN);
        simulation.begin(Phase::Rollouts);
        let mut least: BTreeMap<u32, usize> = BTreeMap::new();
        while simulation.next_step().is_some() {
            for application in simulation.rollouts.keys() {
                let it = &simulation.cluster.applications[*application as usize];
                let ready = it.pods.values().filter(|(_, condition)| *condition == Condition::Ready).count();
                let least = least.entry(*application).or_insert(ready);
                *least = (*least).min(ready);
            }
        }
        assert_eq!(least.len(), 10);
        for (application, least) in least {
            let replicas = simulation.cluster.applications[application as usize].replicas as usize;
            // Pods that fail a probe reduce this number further.
            assert!(least + 3 >= replicas - replicas / 4, "{least} of {replicas}");
        }
    }
}
