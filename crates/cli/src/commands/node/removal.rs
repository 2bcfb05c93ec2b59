//! `sextant node remove`: the leave of a node, and whom it waits for.

use sextant_api::{
    Client,
    resource::{
        node::NodePhase,
        status::{NodeStatus, Status},
    },
};
use sextant_model::NodeId;

use crate::{
    exit::{Exit, Failure},
    health::{active_peers, events_behind},
    lookup,
    output::Output,
    progress::{Progress, Wait, until_ended},
};

/// Starts the leave and waits for its end as long as `wait` says.
pub async fn remove(
    client: &Client,
    wanted: &str,
    yes: bool,
    wait: Wait,
    output: &Output,
) -> Result<Exit, Failure> {
    let id = lookup::node_id(client, wanted).await?;
    let found = client.node(id).await?;
    let name = found.value.name.clone();
    // A second call only goes on waiting for the leave that has begun.
    let mut node = found.value;
    if node.phase == NodePhase::Active {
        let question = format!("Remove node \"{name}\" ({id}) from its network?");
        if let Some(exit) = output.confirmed(yes, &question).await? {
            return Ok(exit);
        }
        node = client.remove_node(id, found.etag.as_deref()).await?;
        output.note(&format!("node \"{name}\" is withdrawn; its peers drop it now"));
    } else {
        let phase = crate::output::word(&node.phase);
        output.note(&format!("node \"{name}\" is {phase} already"));
    }
    let look = async || progress(client, id).await;
    let is_released = match wait {
        Wait::No => None,
        wait => Some(until_ended(wait, output, look).await?.is_some()),
    };
    match is_released {
        None => {}
        Some(true) => {
            node.phase = NodePhase::Released;
            output.note(&format!("node \"{name}\" is released"));
        }
        Some(false) => output.note(&format!(
            "node \"{name}\" is not released yet; it goes on leaving by itself, `sextant node \
             status {id}` says what it waits for"
        )),
    }
    if output.json {
        output.json_line(&node)?;
    }
    Ok(if is_released == Some(false) { Exit::Finding } else { Exit::Success })
}

/// Whom the leave waits for. It goes on when a control plane that is away is back.
async fn progress(client: &Client, id: NodeId) -> Result<Progress<()>, Failure> {
    if client.node(id).await?.value.phase == NodePhase::Released {
        return Ok(Progress::Ended(()));
    }
    let status = client.status().await?;
    let leaving = status.nodes.iter().find(|node| node.node.id == id);
    let waits = leaving.and_then(|leaving| waits_for(leaving, &status));
    Ok(Progress::Waits(waits.unwrap_or_else(|| "the release".into())))
}

/// Which nodes have not dropped a leaving node yet; `None` if it is not leaving.
pub fn waits_for(leaving: &NodeStatus, status: &Status) -> Option<String> {
    if leaving.node.phase != NodePhase::Withdrawn {
        return None;
    }
    let behind: Vec<String> = active_peers(leaving, status)
        .filter(|peer| leaving.waits_for.contains(&peer.node.id))
        .map(|peer| {
            let why = match peer.lag {
                _ if peer.is_silent() => "out of contact".into(),
                lag => events_behind(lag.unwrap_or_default()),
            };
            format!("{} ({why})", peer.node.name)
        })
        .collect();
    Some(if behind.is_empty() { "the release".into() } else { behind.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::healthy;

    #[test]
    fn a_leaving_node_waits_for_those_who_have_not_dropped_it() {
        let mut status = healthy(5);
        assert_eq!(waits_for(&status.nodes[0], &status), None);
        status.nodes[0].node.phase = NodePhase::Withdrawn;
        assert_eq!(waits_for(&status.nodes[0], &status).as_deref(), Some("the release"));
        status.nodes[1].lag = Some(1);
        status.nodes[2].contact_age_s = Some(3700);
        status.nodes[3].contact_age_s = None;
        status.nodes[0].waits_for = [1, 2, 3].map(|at| status.nodes[at].node.id).into();
        status.nodes[4].contact_age_s = Some(3700);
        assert_eq!(
            waits_for(&status.nodes[0], &status).as_deref(),
            Some("n2 (1 event behind), n3 (out of contact), n4 (out of contact)")
        );
    }
}
