//! Services and who looks after them, in the manner of Erlang/OTP: one for one, with a limit of intensity.
//!
//! A service that panics, fails or ends is started again, alone, after a pause that grows. One that does so too often
//! takes the daemon down in an orderly way, because what is wrong then is not in the service.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};

use crate::{daemon::stop::Stop, failure::Failure};

/// So many restarts within this time are too many.
const INTENSITY: (usize, Duration) = (8, Duration::from_mins(1));
/// The first pause before a restart; it doubles with each restart that still counts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long services may take to stop.
const STOPPING: Duration = Duration::from_secs(20);

type Running = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A service that can be started again and again.
pub(crate) struct Service {
    name: &'static str,
    start: Box<dyn Fn(Stop) -> Running + Send + Sync>,
}

impl Service {
    /// A service that `start` starts; it runs until it is told to stop.
    pub(crate) fn new<F: Future<Output = Result<(), Failure>> + Send + 'static>(
        name: &'static str,
        start: impl Fn(Stop) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { name, start: Box::new(move |stop| Box::pin(start(stop))) }
    }
}

/// How a service is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) running: bool,
    pub(crate) restarts: u64,
    /// Why it was started again the last time.
    pub(crate) last: Option<String>,
    fault: Arc<Notify>,
}

/// All services of a daemon, for whoever wants to know.
#[derive(Default)]
pub(crate) struct Services {
    healths: Mutex<BTreeMap<&'static str, Health>>,
}

impl Services {
    fn healths(&self) -> MutexGuard<'_, BTreeMap<&'static str, Health>> {
        self.healths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Vec<(&'static str, Health)> {
        self.healths().iter().map(|(name, health)| (*name, health.clone())).collect()
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut Health)) {
        change(self.healths().entry(name).or_default());
    }

    /// Makes a service panic, to see what becomes of it; whether there is such a service.
    pub(crate) fn fault(&self, name: &str) -> bool {
        self.healths().get(name).map(|health| health.fault.notify_one()).is_some()
    }
}

/// Runs the services until it is told to stop; then waits for them, for a bounded time.
///
/// # Errors
/// When a service had to be started again too often.
pub(crate) async fn run(services: &Arc<Services>, children: Vec<Service>, stop: &Stop) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for child in children {
        services.change(child.name, |_| {});
        running.spawn(look_after(Arc::clone(services), child, stop.clone()));
    }
    let mut outcome = Ok(());
    let mut asked = stop.clone();
    tokio::select! {
        () = asked.asked() => {}
        Some(ended) = running.join_next() => outcome = ended.unwrap_or(Err(Failure::Worker)),
    }
    stop.ask();
    let all = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(STOPPING, all).await.is_err() {
        tracing::warn!("some services did not stop by themselves");
    }
    outcome
}

async fn look_after(services: Arc<Services>, child: Service, mut stop: Stop) -> Result<(), Failure> {
    let name = child.name;
    let mut restarts: VecDeque<Instant> = VecDeque::new();
    loop {
        let reason = run_once(&services, &child, &stop).await;
        if stop.is_asked() {
            return Ok(());
        }
        restarts.retain(|at| at.elapsed() < INTENSITY.1);
        restarts.push_back(Instant::now());
        services.change(name, |health| {
            health.restarts += 1;
            health.last = Some(reason.clone());
        });
        if restarts.len() > INTENSITY.0 {
            return Err(Failure::Service { name, reason });
        }
        crate::progress::warn(&format!("service {name} {reason}; it is started again"));
        tokio::select! {
            () = stop.asked() => return Ok(()),
            () = tokio::time::sleep(PAUSE * (1 << restarts.len())) => {}
        }
    }
}

/// Runs a service once and says why it ended.
async fn run_once(services: &Services, child: &Service, stop: &Stop) -> String {
    let mut fault = Arc::default();
    services.change(child.name, |health| {
        health.running = true;
        fault = Arc::clone(&health.fault);
    });
    let running = (child.start)(stop.clone());
    let ended = tokio::spawn(async move {
        tokio::select! {
            ended = running => ended,
            () = fault.notified() => panic!("it was asked to"),
        }
    });
    let reason = match ended.await {
        Ok(Ok(())) => "ended".to_owned(),
        Ok(Err(failure)) => format!("failed: {}", crate::report::in_one_line(&failure)),
        Err(error) if error.is_panic() => {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            format!("panicked: {}", text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
        }
        Err(_) => "was cancelled".to_owned(),
    };
    services.change(child.name, |health| health.running = false);
    reason
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counted(name: &'static str, started: &Arc<AtomicUsize>) -> Service {
        let started = Arc::clone(started);
        Service::new(name, move |mut stop: Stop| {
            started.fetch_add(1, Ordering::SeqCst);
            async move {
                stop.asked().await;
                Ok(())
            }
        })
    }

    async fn until(holds: impl Fn() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to that");
    }

    #[tokio::test]
    async fn a_panic_restarts_that_service_alone() {
        let (services, stop) = (Arc::new(Services::default()), Stop::new());
        let (a, b) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let children = vec![counted("a", &a), counted("b", &b)];
        let supervisor = {
            let (services, stop) = (Arc::clone(&services), stop.clone());
            tokio::spawn(async move { run(&services, children, &stop).await })
        };
        until(|| services.list().iter().filter(|(_, health)| health.running).count() == 2).await;
        assert!(services.fault("a") && !services.fault("c"));
        until(|| a.load(Ordering::SeqCst) == 2).await;
        assert_eq!(b.load(Ordering::SeqCst), 1);
        let health = services.list().remove(0).1;
        assert_eq!((health.restarts, health.last.as_deref()), (1, Some("panicked: it was asked to")));
        stop.ask();
        supervisor.await.expect("joined").expect("an orderly end");
    }

    #[tokio::test]
    async fn who_fails_too_often_ends_the_daemon() {
        let (services, stop) = (Arc::new(Services::default()), Stop::new());
        tokio::time::pause();
        let children = vec![Service::new("bad", |_| async { Err(Failure::NobodyKnown) })];
        let ended = run(&services, children, &stop).await;
        assert!(matches!(ended, Err(Failure::Service { name: "bad", .. })));
        assert!(stop.is_asked());
    }
}
