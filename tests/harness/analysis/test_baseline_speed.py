"""A baseline asks for the slowest inference that it measured of a network."""

from fake_records import fake_cost, fake_record

from harness.analysis.baseline_speed import slowest_inference


def timed(method, student, speed):
    cost = fake_cost()
    inference = cost.inference.model_copy(update={"images_per_second": speed})
    cost = cost.model_copy(update={"inference": inference})
    return fake_record(method, cost=cost, student=student)


def test_runs_of_a_network_share_its_slowest_speed_and_other_networks_keep_theirs():
    baseline = [
        timed("daformer", "mini_s", 600.0),
        timed("oracle", "mini_s", 330.0),
        timed("source_only", "mini_m", 500.0),
    ]
    made = slowest_inference(baseline)
    assert [record.cost.inference.images_per_second for record in made] == [330.0, 330.0, 500.0]
    assert baseline[0].cost.inference.images_per_second == 600.0


def test_a_record_without_a_timed_inference_stays_as_it_is():
    record = fake_record("daformer")
    bare = record.model_copy(update={"cost": None})
    assert slowest_inference([bare]) == [bare]
