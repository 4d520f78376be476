//! The act in which a Service does not answer: broken in three ways, each diagnosed and repaired.

use portolan_integration::{Answer, Family};

use crate::{
    acts::NODE_PORT,
    picture::Picture,
    stage::{DemoError, Stage},
};

/// The manifest in which the Service works.
const MENDED: &str = "4-load-balancer.yaml";

/// A reason why a Service does not answer.
struct Fault {
    what: &'static str,
    file: &'static str,
    /// What the output of `describe` must contain.
    cause: &'static str,
}

const FAULTS: [Fault; 3] = [
    Fault {
        what: "a selector with a typo",
        file: "5-selector.yaml",
        cause: "selector run=pod-pyhton matches no Pod; 3 Pods of this namespace have run=pod-python",
    },
    Fault {
        what: "Pods that are not ready",
        file: "5-not-ready.yaml",
        cause: "not ready: ContainersNotReady: python: the readiness probe fails",
    },
    Fault {
        what: "policy Local, on a node without a Pod",
        file: "5-local.yaml",
        cause: "this node has no endpoint and the policy is Local: connections from outside are dropped here",
    },
];

/// Act 5: three Services that do not answer.
pub(crate) fn no_answer(stage: &mut Stage) -> Result<(), DemoError> {
    stage.act(
        5,
        "a Service that does not answer",
        &[
            "Three mistakes that everyone makes. Each time the client outside gets no answer from node-a;",
            "portolan describe says why, portolan trace says what becomes of the connection, and once the",
            "manifest is mended the client is answered.",
        ],
    );
    FAULTS.iter().try_for_each(|fault| find_and_mend(stage, fault))?;
    stage.draw_services()
}

fn find_and_mend(stage: &mut Stage, fault: &Fault) -> Result<(), DemoError> {
    stage.say(fault.what);
    stage.change(fault.file)?;
    let answer = try_node_a(stage, "the client asks node-a");
    stage.claim("the client gets no answer", answer.server().is_none());

    let (_, text) = stage.ask("describe", &["service", "service-python"], 5)?;
    // Lines are wrapped between words.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    stage.claim("describe names the cause", text.contains(fault.cause));
    let node_port = format!(":{NODE_PORT}");
    let (code, text) = stage.ask("trace", &["outside", &node_port], 1)?;
    let is_same = match answer {
        Answer::Refused { .. } => text.starts_with("refused"),
        _ => text.starts_with("dropped"),
    };
    stage.claim("trace says what the client saw", code == 1 && is_same);
    stage.draw_services()?;
    if fault.file == "5-local.yaml" {
        let target = stage.lab.node_b.outside().port(Family::V4, NODE_PORT);
        let answer = stage.lab.client().tcp(target);
        let client = stage.lab.client_address().v4;
        let is_kept = answer.server().is_some() && answer.source() == Some(client.into());
        stage.claim("node-b, which has Pods, answers, and they see the client's own address", is_kept);
    }

    stage.say("it is mended");
    stage.change(MENDED)?;
    let (code, _) = stage.ask("trace", &["outside", &node_port], 1)?;
    let answer = try_node_a(stage, "the client asks node-a again");
    stage.claim("trace and the client agree that it answers", code == 0 && answer.server().is_some());
    Ok(())
}

/// A connection from outside to the node port of node-a, and its picture.
fn try_node_a(stage: &mut Stage, caption: &str) -> Answer {
    let target = stage.lab.node_a.outside().port(Family::V4, NODE_PORT);
    let answer = stage.lab.client().tcp(target);
    let end = match &answer {
        Answer::Served { server, .. } => Picture::targets(&[format!("{server} answers")]),
        other => Picture::text(&format!("✗ {other}")),
    };
    let client = Picture::boxed(&["client", "203.0.113.10"]);
    let node = Picture::boxed(&["node-a", &target.to_string()]);
    stage.draw(caption, &client.to("▶", node).to("", end));
    answer
}
