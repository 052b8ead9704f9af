"""Classes by learnt prompts: what is learnt, what is left alone, what is kept, and what is refused."""

from __future__ import annotations

import itertools
import pickle

import pytest
import torch
from torch.nn import functional as F

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, Interrupted, RunError, ShapeError, TrainingError
from counterpoint.testing.compare import difference
from counterpoint_multimodal.tasks.prompts import PromptClasses
from counterpoint_multimodal.tasks.prompts.training import Schedule, Training, losses
from counterpoint_multimodal.tasks.prompts.views import batch_of

pytestmark = pytest.mark.unit
QUICK = {"epochs": 4, "lr": 0.05, "warmup_epochs": 0, "temperature": 0.05, "batch_size": 8}


@pytest.fixture(scope="module")
def fitted(encoder, views, names, images, labels):
    return {
        method: PromptClasses(encoder, views, names, method, **QUICK).fit(images, labels)
        for method in ("coop", "cocoop", "gopro")
    }


@pytest.mark.parametrize(("method", "least"), [("coop", 0.25), ("cocoop", 0.5), ("gopro", 0.5)])
def test_it_learns(fitted, images, labels, method, least):
    """Towers that were never trained leave CoOp little to find; the others read the image."""
    task = fitted[method]
    assert len(task.history) == 4
    assert task.history[-1]["ce"] < task.history[0]["ce"]
    assert task.evaluate(images, labels)[f"accuracy[{method},classes=4]"] >= least
    terms = {"loss", "ce", "consistency", "contrast"} if method == "gopro" else {"loss", "ce"}
    assert set(task.history[0]) == terms


def test_without_an_epoch_it_is_the_phrase(encoder, views, names, images, labels):
    """The hand-written prompt, whatever the method but CoCoOp, whose network is drawn."""
    image = F.normalize(encoder(views.plain(batch_of(images))[0]).pooled, dim=1)
    for method in ("coop", "gopro"):
        task = PromptClasses(encoder, views, names, method, epochs=0).fit(images, labels)
        text = task.prompts.encode(task.prompts.start[None])[0]
        assert torch.allclose(task.scores(images), (image @ text.T / 0.01).softmax(1), atol=1e-4)


def test_the_encoder_stays_to_the_bit_and_only_the_learner_learns(towers, views, names, images, labels):
    encoder = towers(3).requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    task = PromptClasses(encoder, views, names, **QUICK)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    learner = task.blank(16, [12] * 4).train()
    training = Training(learner, task.prompts, encoder, _prompt_views(views), task.schedule)
    training.step(batch_of(images[:8]), labels[:8])
    training.step(batch_of(images[8:16]), labels[8:16])
    assert not difference(before, encoder.state_dict())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    silent = {name for name, parameter in learner.named_parameters() if not parameter.grad.any()}
    assert silent == {"projector.0.bias"} or not silent  # BatchNorm takes that one's gradient away


def test_what_is_seen_carries_no_gradient_and_contrast_reaches_the_projector_alone(encoder, views, names, images):
    task = PromptClasses(encoder, views, names, **QUICK)
    learner = task.blank(16, [12] * 4).train()
    training = Training(learner, task.prompts, encoder, _prompt_views(views), task.schedule)
    seen = training._seen(batch_of(images[:6]))
    assert not any(rows.requires_grad for one in seen for rows in (one.feature, *one.content, *one.style))
    terms = losses(learner, task.prompts, seen, torch.zeros(6, dtype=torch.int64), task.schedule)
    assert terms["consistency"] < 1e-12  # rho is zero: one prompt for all views
    terms["contrast"].backward()
    reached = {name.split(".")[0] for name, value in learner.named_parameters() if value.grad is not None}
    assert reached == {"projector"}


def test_equal_views_are_consistent(encoder, views, names, images):
    task = PromptClasses(encoder, views, names, **QUICK)
    learner = task.blank(16, [12] * 4).train()
    torch.nn.init.normal_(learner.rho.weight)
    training = Training(learner, task.prompts, encoder, _prompt_views(views), task.schedule)
    original, moco, augmix = training._seen(batch_of(images[:6]))
    wanted = torch.zeros(6, dtype=torch.int64)
    same = losses(learner, task.prompts, [original] * 3, wanted, task.schedule)["consistency"]
    differ = losses(learner, task.prompts, [original, moco, augmix], wanted, task.schedule)["consistency"]
    assert same == 0 and differ > 0


def test_new_classes_need_nothing_new(fitted, images, names):
    for task in fitted.values():
        scores = task.scores(images[:5], [*names, "violet square"])
        assert scores.shape == (5, 5)
        assert torch.allclose(scores.sum(1), torch.ones(5), atol=1e-5)
        old = scores[:, :4] / scores[:, :4].sum(1, keepdim=True)
        assert torch.allclose(old, task.scores(images[:5]), atol=1e-3)
        assert torch.equal(task.predict(images[:5], list(reversed(names))), 3 - task.predict(images[:5]))


def test_an_answer_does_not_depend_on_its_neighbours(fitted, images):
    for task in fitted.values():
        whole = task.scores(images)
        assert torch.allclose(torch.cat([task.scores(images[:1]), task.scores(images[1:])]), whole, atol=1e-5)
        assert torch.allclose(task.scores(images, batch_size=5), whole, atol=1e-5)
        assert task.scores(images[:0]).shape == (0, 4)


def test_the_seed_decides(encoder, views, names, images, labels):
    def task(seed):
        return PromptClasses(encoder, views, names, seed=seed, **{**QUICK, "epochs": 1}).fit(images, labels)

    one, same, other = (task(seed).scores(images) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_rows_without_label_do_not_count(encoder, views, names, images, labels):
    some = torch.where(torch.arange(24) % 3 == 0, labels, -1)
    quick = {**QUICK, "epochs": 1}
    one = PromptClasses(encoder, views, names, "coop", **quick).fit(images, some)
    two = PromptClasses(encoder, views, names, "coop", **quick).fit(list(images[some >= 0]), some[some >= 0])
    assert torch.equal(one.scores(images), two.scores(images))
    metrics = one.evaluate(images, some)
    assert metrics == one.evaluate(images[some >= 0], labels[some >= 0])


def test_class_accuracy_weighs_classes_alike(fitted, images, labels):
    task = fitted["gopro"]
    right = (task.predict(images) == labels).double()
    keep = torch.arange(24) >= 5  # one image of the first class, six of each other
    metrics = task.evaluate(images[keep], labels[keep])
    parts = [right[5:6].mean(), *(right[labels == number].mean() for number in (1, 2, 3))]
    assert metrics["accuracy[gopro,classes=4]"] == pytest.approx(float(right[keep].mean()))
    assert metrics["class_accuracy[gopro,classes=4]"] == pytest.approx(float(sum(parts)) / 4)


@pytest.mark.parametrize("method", ["coop", "cocoop", "gopro"])
def test_what_is_saved_answers_alike(fitted, encoder, views, images, tmp_path, method):
    fitted[method].save(tmp_path / "prompts")
    assert sorted(path.name for path in (tmp_path / "prompts").iterdir()) == ["prompts.json", "prompts.safetensors"]
    loaded = PromptClasses.load(tmp_path / "prompts", encoder, views)
    assert torch.equal(loaded.scores(images), fitted[method].scores(images))
    assert (loaded.classes, loaded.schedule) == (fitted[method].classes, fitted[method].schedule)
    loaded.save(tmp_path / "again")
    one, two = (tmp_path / folder / "prompts.json" for folder in ("prompts", "again"))
    assert one.read_bytes() == two.read_bytes()


def test_prompts_of_another_encoder_are_refused(fitted, towers, views, tmp_path):
    fitted["coop"].save(tmp_path)
    with pytest.raises(RunError, match="found prompts of another encoder"):
        PromptClasses.load(tmp_path, towers(9), views)


def test_torn_and_foreign_files_are_refused(fitted, encoder, views, tmp_path):
    with pytest.raises(RunError, match="there are no prompts here"):
        PromptClasses.load(tmp_path, encoder, views)
    fitted["coop"].save(tmp_path)
    (tmp_path / "prompts.safetensors").write_bytes(pickle.dumps({"context": [1.0]}))
    with pytest.raises(RunError, match="Pickled weights are not read"):
        PromptClasses.load(tmp_path, encoder, views)
    fitted["gopro"].save(tmp_path / "other")
    (tmp_path / "prompts.safetensors").write_bytes((tmp_path / "other" / "prompts.safetensors").read_bytes())
    with pytest.raises(RunError, match="does not fit CoOp"):
        PromptClasses.load(tmp_path, encoder, views)
    for text, told in (("{", "is not JSON"), ('{"format": 9}', "is of another format; 1 is needed")):
        (tmp_path / "prompts.json").write_text(text)
        with pytest.raises(RunError, match=told):
            PromptClasses.load(tmp_path, encoder, views)


def test_stopping_keeps_what_was_learnt(encoder, views, names, images, labels, monkeypatch):
    step, done = Training.step, []

    def stops(self, *given):
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt
        return step(self, *given)

    monkeypatch.setattr(Training, "step", stops)
    task = PromptClasses(encoder, views, names, "coop", **QUICK)
    with pytest.raises(Interrupted, match="Stopped after 1 of 4 epochs"):
        task.fit(images, labels)
    assert not torch.equal(task.learner.context, task.prompts.start)
    assert not task.learner.training and task.predict(images).shape == (24,)


def test_a_loss_that_is_not_finite_is_named(encoder, views, names, images, labels):
    task = PromptClasses(encoder, views, names, "coop", **{**QUICK, "lr": 1e30, "epochs": 9})
    with pytest.raises(TrainingError, match="Lower lr, or raise temperature"):
        task.fit(images, labels)


def test_no_batch_is_a_single_image(encoder, views, names, images, labels):
    task = PromptClasses(encoder, views, names, **{**QUICK, "epochs": 1, "batch_size": 2})
    task.fit(images[[0, 6, 12]], labels[[0, 6, 12]])  # two steps would leave one alone
    assert torch.isfinite(task.scores(images)).all()


def test_schedule():
    schedule = Schedule(epochs=10, lr=1.0, warmup_epochs=2, warmup_lr=0.1)
    rates = [schedule.rate(epoch) for epoch in range(10)]
    assert rates[:2] == [0.1, 0.1] and rates[5] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[2:]))
    for setting, told in (({"batch_size": 1}, "at least 2"), ({"lr": 0.0}, "> 0"), ({"contrast": -1.0}, "at least 0")):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))}: .*{told}"):
            Schedule(**setting)


def test_errors(encoder, views, names, images, labels):
    with pytest.raises(ConfigError, match=r"method: 'gopr' is no prompt learner\. Did you mean 'gopro'"):
        PromptClasses(encoder, views, names, "gopr")
    with pytest.raises(ConfigError, match=r"epoch: is no setting of PromptClasses\. Did you mean 'epochs'"):
        PromptClasses(encoder, views, names, epoch=3)
    with pytest.raises(ConfigError, match="encoder: found TinyViT without tokenize"):
        PromptClasses(encoder.image, views, names)
    task = PromptClasses(encoder, views, names)
    with pytest.raises(ConfigError, match=r"PromptClasses: found no prompts yet; .*Call fit\(images, labels\)"):
        task.predict(images)
    for given, told in (
        (None, r"labels: found none; allowed: \(24,\)"),
        (labels[:3], r"found shape \(3,\)"),
        (labels - 9, "found 0 known; allowed: at least 2"),
        (labels + 1, "found 4; allowed: 0 to 3"),
    ):
        with pytest.raises(ShapeError, match=told):
            task.fit(images, given)


def test_the_plugin_names_it():
    assert plugins.get("multimodal").part("tasks", "prompts").load() is PromptClasses


def _prompt_views(views):
    from counterpoint_multimodal.tasks.prompts import PromptViews

    return PromptViews(views, 16)
