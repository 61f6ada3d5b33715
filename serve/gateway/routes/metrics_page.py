"""`/metrics`: counters of all ingress replicas, and what is true now."""

from __future__ import annotations

from prometheus_client.core import Metric

from alpharay.router import POLICIES, PolicyState
from alpharay.serve.gateway.server import Server
from alpharay.serve.state import metrics


async def metrics_page(server: Server) -> bytes:
    """The sum over all ingress replicas; the others as last heard of while the cluster state is unreachable."""
    await server.exchange()
    return metrics.page(server.cluster.counted(), _gauges(server))


def _gauges(server: Server) -> list[Metric]:
    states, judge = server.cluster.overview.members, server.cluster.overview.judge
    return [
        metrics.gauge("alpharay_replica_up", "Replicas of the member whose engine can answer.", ["member"],
                      [([name], state.up) for name, state in states.items()]),
        metrics.gauge("alpharay_degraded_members", "Members without an engine that can answer.", [],
                      [([], len(server.cluster.degraded()))]),
        metrics.counter("alpharay_replica_restarts", "Engine starts in place of an engine that was lost.", ["member"],
                        [([name], state.restarts) for name, state in states.items()]),
        metrics.gauge("alpharay_engine_requests", "Requests that hold a place in the member's engines.", ["member"],
                      [([name], state.unfinished) for name, state in states.items()]),
        metrics.gauge("alpharay_requests_in_flight", "Requests being answered by the scraped replica.", [],
                      [([], server.admission.in_flight)]),
        metrics.gauge("alpharay_judge_up", "Whether a judge can run programs.", [],
                      [([], bool(judge.layer))]),
        metrics.gauge("alpharay_judge_queue_depth", "Candidates waiting for a judge.", [],
                      [([], judge.queue_depth)]),
        metrics.gauge("alpharay_router_weight", "Share of the budget that the configured policy gives the member.",
                      ["member"], [([name], share) for name, share in _weights(server).items()]),
        metrics.gauge("alpharay_store_up", "1 while the scraped replica reaches the store; 0: learning is paused.", [],
                      [([], not server.learning.down)]),
        metrics.gauge("alpharay_checkpoint_info", "1 for every member served, with its alpha, weights and checkpoint.",
                      ["member", "alpha", "weights", "sha256"], [(m.labels, 1) for m in server.members]),
    ]  # fmt: skip


def _weights(server: Server) -> dict[str, float]:
    """The split that the configured policy makes of a large budget."""
    members = [member.as_member for member in server.members]
    samples = 20 * len(members)
    state = PolicyState(members=members, budget=samples, router_state=server.learning.router_state())
    names = POLICIES[server.config.router.policy]().allocate(samples, state)
    return {member.name: names.count(member.name) / samples for member in members}
