//! Showing the way of a lookup.

use krpc::{Contact, Event, Outcome, Step, Target};
use serde_json::{Value, json};

use crate::{failure::Failure, output};

pub(crate) fn contact(contact: &Contact) -> Value {
    json!({ "id": contact.id.to_string(), "address": contact.address.to_string() })
}

/// One line for each question and each answer.
pub(crate) fn step(event: &Event, target: &Target, as_json: bool) -> Result<(), Failure> {
    let Event::Step { to, id, step, .. } = event else { return Ok(()) };
    let shared = id.map(|id| id.distance(target).shared_bits());
    if as_json {
        let mut line = json!({ "step": word(step), "address": to.to_string(), "shared_bits": shared });
        if let Step::Answered { after, nodes, peers, item, depth } = step {
            line["milliseconds"] = json!(after.as_secs_f64() * 1e3);
            line["nodes"] = json!(nodes);
            line["peers"] = json!(peers);
            line["item"] = json!(item);
            line["round"] = json!(depth + 1);
        }
        return output::json(&line);
    }
    let near = shared.map(|bits| format!("  {bits:3} bits shared")).unwrap_or_default();
    match step {
        Step::Answered { after, nodes, depth, .. } => output::line(format_args!(
            "{:9} {to}{near}  round {}  {:.1} ms  {nodes} nodes",
            word(step),
            depth + 1,
            after.as_secs_f64() * 1e3
        )),
        _ => output::line(format_args!("{:9} {to}{near}", word(step))),
    }
}

/// What a lookup came to.
pub(crate) fn summary(outcome: &Outcome) -> String {
    format!(
        "{} asked, {} answered, {} did not; {} rounds, {:.2} s",
        outcome.asked,
        outcome.answered,
        outcome.failed,
        outcome.depth,
        outcome.elapsed.as_secs_f64()
    )
}

const fn word(step: &Step) -> &'static str {
    match step {
        Step::Asked => "asked",
        Step::Answered { .. } => "answered",
        Step::Refused => "refused",
        Step::Failed => "no answer",
    }
}
