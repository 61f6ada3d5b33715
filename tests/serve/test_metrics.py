from prometheus_client.parser import text_string_to_metric_families

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.state import metrics
from alpharay.serve.state.cluster_state import ClusterState

from .fakes import NAMES, TESTS, Serving

# What the contract promises, and under which labels.
PROMISED = {
    "alpharay_requests": {"endpoint", "outcome"},
    "alpharay_request_duration_seconds": {"endpoint"},
    "alpharay_time_to_first_token_seconds": set(),
    "alpharay_samples": {"member", "outcome"},
    "alpharay_tokens": {"member", "kind"},
    "alpharay_wasted_tokens": {"member", "reason"},
    "alpharay_verdicts": {"member", "verdict"},
    "alpharay_selected": {"member"},
    "alpharay_samples_to_first_pass": set(),
    "alpharay_judge_duration_seconds": {"verdict"},
    "alpharay_judge_queue_depth": set(),
    "alpharay_replica_up": {"member"},
    "alpharay_replica_restarts": {"member"},
    "alpharay_rejections": {"reason"},
    "alpharay_router_weight": {"member"},
    "alpharay_checkpoint_info": {"member", "alpha", "weights", "sha256"},
}


def read(text):
    """{metric: family} of a scraped page."""
    return {family.name: family for family in text_string_to_metric_families(text)}


async def scraped(serving):
    response = await serving.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == metrics.CONTENT_TYPE
    return read(response.text)


def value(page, sample_name, **labels):
    """The value of the sample of that name, summed over all labels but those in `labels`."""
    return sum(
        sample.value
        for family in page.values()
        for sample in family.samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    )


def counts(samples=0, seconds=()):
    made = metrics.Counts()
    made.samples.labels(NAMES[0], "finished").inc(samples)
    for duration in seconds:
        made.duration.labels("chat").observe(duration)
    return made


def test_snapshots_add_up_sample_by_sample():
    first, second = counts(3, [0.01, 400]), counts(4, [0.2])
    page = read(metrics.page(metrics.add([first.snapshot(), second.snapshot()]), []).decode())
    assert value(page, "alpharay_samples_total", member=NAMES[0], outcome="finished") == 7
    assert value(page, "alpharay_request_duration_seconds_count") == 3
    assert value(page, "alpharay_request_duration_seconds_bucket", le="0.25") == 2
    assert value(page, "alpharay_request_duration_seconds_bucket", le="+Inf") == 3
    assert value(page, "alpharay_request_duration_seconds_sum") == 400.21


def test_a_sum_with_what_only_one_of_them_counted_keeps_it():
    first, second = counts(3), metrics.Counts()
    second.rejections.labels("invalid").inc()
    page = read(metrics.page(metrics.add([first.snapshot(), second.snapshot()]), []).decode())
    assert value(page, "alpharay_samples_total") == 3
    assert value(page, "alpharay_rejections_total", reason="invalid") == 1


def test_adding_leaves_the_snapshots_as_they_were():
    snapshot = counts(3).snapshot()
    metrics.add([snapshot, snapshot])
    assert (
        snapshot["alpharay_samples"][2][
            ("alpharay_samples_total", (("member", NAMES[0]), ("outcome", "finished")))
        ]
        == 3
    )


def test_the_sum_of_one_is_the_page_that_prometheus_itself_would_make():
    from prometheus_client import generate_latest

    made = counts(3, [0.2])
    ours = read(metrics.page(made.snapshot(), []).decode())
    theirs = read(generate_latest(made.registry).decode())
    theirs = {name: family for name, family in theirs.items() if not name.endswith("_created")}
    assert {name: sorted(map(str, family.samples)) for name, family in ours.items()} == {
        name: sorted(map(str, family.samples)) for name, family in theirs.items()
    }


async def test_every_promised_metric_is_on_the_page_with_its_labels_and_help(serving):
    serving.judging.verdict = lambda _: VerdictKind.ACCEPTED
    await serving.answer(alpharay={"tests": TESTS, "budget": 5, "stop_after_passes": 5})
    await serving.events()
    await serving.chat(n=0)
    page = await scraped(serving)
    for name, labels in PROMISED.items():
        family = page[name]
        assert family.documentation
        assert family.samples
        assert all(set(sample.labels) - {"le"} == labels for sample in family.samples), name


async def test_no_label_grows_with_the_traffic(serving):
    async def labels():
        page = await scraped(serving)
        return {
            (sample.name, *sorted(sample.labels.items()))
            for family in page.values()
            for sample in family.samples
        }

    for seed in range(20):
        await serving.answer(seed=seed, alpharay={"budget": 10})
    before = await labels()
    for seed in range(20, 40):
        await serving.answer(seed=seed, alpharay={"budget": 10})
    assert await labels() == before


async def test_a_scrape_is_the_sum_over_all_ingress_replicas(serving):
    other = Serving(cluster_state=serving.cluster_state)
    await serving.answer()
    for _ in range(2):
        await other.answer()
    await other.server.exchange()
    assert value(await scraped(serving), "alpharay_requests_total", outcome="ok") == 3


async def test_counters_do_not_fall_when_an_ingress_replica_is_replaced(serving):
    await serving.answer()
    await serving.server.exchange()
    successor = Serving(cluster_state=serving.cluster_state)
    assert value(await scraped(successor), "alpharay_requests_total", outcome="ok") == 1
    await successor.answer()
    assert value(await scraped(successor), "alpharay_requests_total", outcome="ok") == 2


async def test_a_replica_that_never_reached_the_hub_tells_its_own_counts():
    serving = Serving()
    serving.handle.away = True
    await serving.answer()
    await serving.answer()
    assert value(await scraped(serving), "alpharay_requests_total", outcome="ok") == 2


async def test_a_lost_hub_makes_no_counter_fall(serving):
    await serving.answer()
    other = Serving(cluster_state=serving.cluster_state)
    await other.answer()
    await other.server.exchange()
    assert value(await scraped(serving), "alpharay_requests_total", outcome="ok") == 2
    serving.handle.away = True
    assert value(await scraped(serving), "alpharay_requests_total", outcome="ok") == 2
    await serving.answer()
    assert value(await scraped(serving), "alpharay_requests_total", outcome="ok") == 3


async def test_restarts_and_living_replicas_are_told_by_member(serving):
    await serving.all_up(instance="second")
    page = await scraped(serving)
    assert value(page, "alpharay_replica_restarts_total", member=NAMES[0]) == 1
    assert value(page, "alpharay_replica_up", member=NAMES[0]) == 1


async def test_the_weights_of_a_uniform_policy_are_equal(serving):
    page = await scraped(serving)
    assert {round(value(page, "alpharay_router_weight", member=name), 6) for name in NAMES} == {0.2}


async def test_the_weights_of_a_single_policy_follow_what_was_solved(serve):
    serving = await serve(router={"policy": "single"})
    serving.judging.verdict = lambda text: (
        VerdictKind.ACCEPTED if text.split()[0] == NAMES[0] else VerdictKind.WRONG_ANSWER
    )
    controls = {"tests": TESTS, "budget": 50, "policy": "uniform", "stop_after_passes": 50}
    await serving.answer(alpharay=controls)
    await serving.server.exchange()
    page = await scraped(serving)
    assert value(page, "alpharay_router_weight", member=NAMES[0]) == 1
    assert value(page, "alpharay_router_weight") == 1


async def test_what_the_judge_itself_got_wrong_does_not_sway_the_policy(serve):
    serving = await serve(router={"policy": "single"})
    serving.judging.verdict = lambda text: (
        VerdictKind.WRONG_ANSWER if text.split()[0] == NAMES[3] else VerdictKind.JUDGE_ERROR
    )
    await serving.answer(
        alpharay={"tests": TESTS, "budget": 50, "policy": "uniform", "stop_after_passes": 50}
    )
    await serving.server.exchange()
    router_state = serving.server.learning.router_state()
    assert (dict(router_state.judged), dict(router_state.solved)) == ({NAMES[3]: 10}, {NAMES[3]: 0})


async def test_samples_that_the_judge_itself_could_not_judge_are_not_counted_as_failed(serve):
    serving = await serve()
    serving.judging.verdict = lambda _: VerdictKind.JUDGE_ERROR
    await serving.answer(alpharay={"tests": TESTS, "budget": 3})
    page = await scraped(serving)
    reasons = {sample.labels["reason"] for sample in page["alpharay_wasted_tokens"].samples if sample.value}
    assert reasons == {"unselected"}


async def test_the_checkpoints_behind_the_members_are_told(serving):
    page = await scraped(serving)
    checkpoints = {
        (sample.labels["member"], sample.labels["alpha"], sample.labels["sha256"])
        for sample in page["alpharay_checkpoint_info"].samples
    }
    assert checkpoints == {(member.name, f"{member.alpha:g}", member.sha256) for member in serving.members}


async def test_an_empty_hub_gives_a_page_too():
    alone = Serving(cluster_state=ClusterState([]))
    assert value(await scraped(alone), "alpharay_requests_in_flight") == 0
