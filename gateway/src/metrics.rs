//! Figures for Prometheus (docs/gateway.md, section 6).

use std::sync::atomic::AtomicU64;

use hyper::{Method, StatusCode};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use serde_json::Value;

/// The form that is written (`OpenMetrics` 1.0).
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// What the gateway counts itself.
#[derive(Default)]
pub(crate) struct Figures {
    requests: Family<Labels, Counter>,
    sent: Counter,
}

impl Figures {
    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode) {
        // Of what a client may call it, only what is known becomes a label.
        let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST].contains(method);
        let method = if known { method.to_string() } else { "other".to_owned() };
        self.requests.get_or_create(&vec![("method", method), ("status", status.as_u16().to_string())]).inc();
    }

    /// Bytes of files are sent.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }
}

/// Gauges of the status: name, help, unit, and where its value is.
const GAUGES: [(&str, &str, &str); 12] = [
    ("store_blocks", "Blocks in the store", "blocks"),
    ("pinned_blocks", "Blocks that pinned URLs need", "pinned_blocks"),
    ("endangered_blocks", "Pinned blocks that have fewer copies than they should", "endangered"),
    ("live_peers", "Peers of the pool that are live, this one included", "live"),
    ("pushes_waiting", "Blocks that wait to be pushed to their holders", "pushes_waiting"),
    ("repairs_waiting", "Blocks that wait to be copied here", "repairs_waiting"),
    ("repairs_with_one_copy", "Waiting blocks of which one copy is known", "repairs_with_one_copy"),
    (
        "peers_to_look_through",
        "Peers that were not looked through since the placement changed",
        "peers_to_look_through",
    ),
    ("looked_at_age_seconds", "Time since the copies of pinned blocks were counted", "looked_seconds_ago"),
    ("missing_packs", "Packs that the index knows and that are gone", "missing_packs"),
    ("quarantined_blocks", "Blocks that are known to be damaged and not yet healed", "quarantined"),
    ("capacity_free_bytes", "Bytes that may still be stored", "free"),
];

/// Counters of the status.
const COUNTERS: [(&str, &str, &str); 4] = [
    ("blocks_fetched", "Blocks that came from peers", "fetched"),
    ("blocks_missed", "Blocks that no peer had", "missed"),
    ("blocks_pushed", "Blocks that were given to their holders", "pushed"),
    ("blocks_repaired", "Blocks that were copied here", "repaired"),
];

/// Everything, as text.
pub(crate) fn to_text(status: &Value, figures: &Figures, streams: usize) -> String {
    let mut registry = Registry::with_prefix("offs");
    let gauge = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    registry.register("http_requests", "Requests that were answered", figures.requests.clone());
    registry.register_with_unit("http_sent", "Bytes of files that were sent", Unit::Bytes, figures.sent.clone());
    #[expect(clippy::cast_precision_loss, reason = "at most some hundred")]
    registry.register("http_streams", "Files that are being sent or received", gauge(streams as f64));
    if let Some(bytes) = status["bytes"].as_f64() {
        registry.register_with_unit("store_size", "Bytes in the packs of the store", Unit::Bytes, gauge(bytes));
    }
    for (name, help, key) in GAUGES {
        if let Some(value) = status[key].as_f64() {
            registry.register(name, help, gauge(value));
        }
    }
    for (name, help, key) in COUNTERS {
        let counter = Counter::<u64>::default();
        counter.inc_by(status[key].as_u64().unwrap_or(0));
        registry.register(name, help, counter);
    }
    services(&mut registry, status);
    peers(&mut registry, status);
    buckets(&mut registry, status);
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::warn!(%error, "figures cannot be written");
    }
    text
}

fn services(registry: &mut Registry, status: &Value) {
    let (running, restarts) = (Gauges::default(), Family::<Labels, Counter>::default());
    for (name, health) in status["services"].as_object().into_iter().flatten() {
        let labels = vec![("service", name.clone())];
        running.get_or_create(&labels).set(f64::from(u8::from(health["running"] == true)));
        restarts.get_or_create(&labels).inc_by(health["restarts"].as_u64().unwrap_or(0));
    }
    registry.register("service_up", "Whether a service runs", running);
    registry.register("service_restarts", "How often a service was started again", restarts);
}

fn peers(registry: &mut Registry, status: &Value) {
    let (reachable, bytes) =
        (Gauges::default(), ["received", "pushed", "given"].map(|_| Family::<Labels, Counter>::default()));
    for peer in status["peers"].as_array().into_iter().flatten() {
        let labels = vec![("peer", peer["peer"].as_str().unwrap_or_default().to_owned())];
        reachable.get_or_create(&labels).set(f64::from(u8::from(peer["reachable"] == true)));
        for (family, key) in bytes.iter().zip(["received", "pushed", "given"]) {
            family.get_or_create(&labels).inc_by(peer[key].as_u64().unwrap_or(0));
        }
    }
    registry.register("peer_up", "Whether a peer is reachable", reachable);
    let [received, pushed, given] = bytes;
    registry.register_with_unit("peer_received", "Bytes that came from a peer when asked", Unit::Bytes, received);
    registry.register_with_unit("peer_pushed", "Bytes that a peer pushed to us", Unit::Bytes, pushed);
    registry.register_with_unit("peer_sent", "Bytes that were given to a peer", Unit::Bytes, given);
}

fn buckets(registry: &mut Registry, status: &Value) {
    let (objects, bytes) = (Gauges::default(), Gauges::default());
    for (name, usage) in status["buckets"].as_object().into_iter().flatten() {
        let labels = vec![("bucket", name.clone())];
        objects.get_or_create(&labels).set(usage["objects"].as_f64().unwrap_or(0.0));
        bytes.get_or_create(&labels).set(usage["bytes"].as_f64().unwrap_or(0.0));
    }
    registry.register("bucket_objects", "Objects in a bucket, old versions included", objects);
    registry.register_with_unit("bucket_size", "Bytes of the objects in a bucket", Unit::Bytes, bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_follow_the_conventions() {
        let figures = Figures::default();
        figures.answered(&Method::GET, StatusCode::OK);
        figures.answered(&"EVIL".parse().expect("a method"), StatusCode::METHOD_NOT_ALLOWED);
        figures.sent(7);
        let status = json!({
            "blocks": 5, "bytes": 100, "fetched": 3, "services": {"links": {"running": true, "restarts": 2}},
            "buckets": {"b": {"objects": 2, "bytes": 9}},
            "peers": [{"peer": "abc", "reachable": false, "pushed": 1, "given": 2}],
        });
        let text = to_text(&status, &figures, 4);
        for line in [
            "offs_http_requests_total{method=\"GET\",status=\"200\"} 1",
            "offs_http_requests_total{method=\"other\",status=\"405\"} 1",
            "offs_http_sent_bytes_total 7",
            "offs_http_streams 4.0",
            "offs_store_size_bytes 100.0",
            "offs_store_blocks 5.0",
            "offs_blocks_fetched_total 3",
            "offs_service_up{service=\"links\"} 1.0",
            "offs_service_restarts_total{service=\"links\"} 2",
            "offs_peer_up{peer=\"abc\"} 0.0",
            "offs_peer_sent_bytes_total{peer=\"abc\"} 2",
            "offs_bucket_objects{bucket=\"b\"} 2.0",
            "offs_bucket_size_bytes{bucket=\"b\"} 9.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
