//! Work spread over threads: reading YAML costs more time than everything else up to the kernel.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::api::Context;

/// Maximum number of threads. The agent shares its node with other programs.
const THREADS: usize = 4;

/// Stack of a thread, the same as that of a main thread.
const STACK: usize = 8 << 20;

/// Does all jobs, on as many threads as there are processors but at most [`THREADS`], and returns the results in order.
pub(super) fn map<T: Sync, R: Send>(
    jobs: &[T],
    context: &mut Context,
    work: impl Fn(&T, &mut Context) -> R + Sync,
) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = processors.min(THREADS).min(jobs.len()).saturating_sub(1);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let run = |context: &mut Context| {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(i) else { return };
            let result = work(job, context);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            let mut context = context.fork();
            // If no other thread can be started, this thread does all jobs.
            _ = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, {
                let run = &run;
                move || run(&mut context)
            });
        }
        run(context);
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let jobs: Vec<usize> = (0..1000).collect();
        let doubled = map(&jobs, &mut Context::default(), |job, _| job * 2);
        assert_eq!(doubled, jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
        assert_eq!(map(&[], &mut Context::default(), |(): &(), _| 0), Vec::<i32>::new());
    }
}
