"""The kit passes what is right, and each planted fault fails its own rule; shown on captum and torch-cam where they import."""

import pytest
import torch
from torch.nn import functional

from saliency_ext import evaluate
from saliency_ext.attribution import GradCAM, Gradient, IntegratedGradients, Occlusion
from saliency_ext.conformance import check_explainer, check_metric
from saliency_ext.conformance._conformance_table import run
from saliency_ext.conformance._explainer_rules import _Rules as ExplainerRules
from saliency_ext.conformance._fixtures import CLASSES, LinearNet, images, network
from saliency_ext.conformance._metric_rules import _Rules as MetricRules
from saliency_ext.infill import Constant
from saliency_ext.metrics import METRICS as REGISTERED
from saliency_ext.metrics import Deletion, Fidelity, Insertion, MapMetric, MetricOptions
from saliency_ext.metrics.registry import make_metrics
from saliency_ext.perturbation import AdaptiveSteps, EqualFractions

ZERO, FEW = Constant(0.0), EqualFractions(6)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: Gradient(model, channels="abs_sum"),
        lambda model: IntegratedGradients(model, ZERO, steps=4),
        lambda model: GradCAM(model),
        lambda model: Occlusion(model, ZERO, window=4, stride=4),
    ],
    ids=["gradient", "integrated_gradients", "grad_cam", "occlusion"],
)
def test_our_methods_conform_at_the_cost_that_is_written(make):
    made = []
    assert check_explainer(lambda model: made.append(Counted(make(model))) or made[0]).failed == ()
    assert f"Cost: {len(made[0].sizes)} calls on at most three small images" in words(check_explainer)
    assert max(made[0].sizes) == 3


class Counted:
    """What it wraps, and the number of images in each call."""

    def __init__(self, wrapped):
        self.wrapped, self.sizes = wrapped, []

    def __call__(self, *given):
        self.sizes.append(next(len(each) for each in given if isinstance(each, torch.Tensor)))
        return self.wrapped(*given)


def words(function):
    return " ".join(function.__doc__.split())


def ours(metric):
    def call(model, inputs, target, maps):
        return evaluate(model, inputs, target, maps, [metric], check_model=False)["map", metric.info.name].values

    return call


@pytest.mark.filterwarnings("ignore:.*training mode")
@pytest.mark.parametrize(
    ("metric", "kind", "cost"),
    [
        (Deletion(ZERO, FEW), "other", "Cost: {} calls on at most three small images"),
        (Deletion(ZERO, FEW), "deletion", '; {} for "deletion" and "insertion"'),
        (Insertion(ZERO, FEW), "insertion", '; {} for "deletion" and "insertion"'),
        (Fidelity(ZERO, FEW), "fidelity", '{} for "fidelity", on at most four'),
        (Fidelity(ZERO, AdaptiveSteps(0.01, grid=16)), "fidelity", '{} for "fidelity", on at most four'),
    ],
    ids=["other", "deletion", "insertion", "fidelity", "fidelity, adaptive"],
)
def test_our_metrics_conform_at_the_cost_that_is_written(metric, kind, cost):
    counted = Counted(ours(metric))
    assert check_metric(counted, kind).failed == ()
    assert cost.format(len(counted.sizes)) in words(check_metric)
    assert max(counted.sizes) == (3 if kind == "other" else 4)


SLOW = {"sensitivity_n"}  # 12 s: docs/cards.py checks it
IGNORES_THE_MODEL = {"a constant map has a value", "a class out of range raises an error"}  # of what reads the map alone


@pytest.mark.filterwarnings("ignore:.*training mode")
@pytest.mark.parametrize("name", [name for name, kind in REGISTERED.items() if kind.info.needs != "method" and name not in SLOW])
def test_every_registered_metric_keeps_the_rules_of_its_kind(name):
    (metric,) = make_metrics([name], MetricOptions(ZERO, steps=4))
    table = check_metric(metric)
    assert table.subject == name
    assert set(table.failed) <= (IGNORES_THE_MODEL if isinstance(metric, MapMetric) else set()), str(table)


def test_a_metric_that_the_kit_cannot_check_is_refused():
    (metric,) = make_metrics(["max_sensitivity"], MetricOptions())
    with pytest.raises(ValueError, match="the conformance kit has no method.*got 'max_sensitivity'"):
        check_metric(metric)
    with pytest.raises(TypeError, match="check_metric: expected metrics to hold metrics, got object, which has no 'info'"):
        check_metric(object())


def breaks(rules, name):
    """Whether this one rule does not hold, the first one does, unless it is the one."""
    chosen = [(rule, check) for rule, check in rules if rule in (name, rules[0][0])]
    return name in (failed := run("", chosen).failed) and len(failed) == 1


def explainer_rules(make):
    model = network()
    return ExplainerRules(model, make(model)).rules()


def gradient(model, inputs, target):
    """As Gradient, by hand, without manners."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = inputs.clone().requires_grad_(True)
        model(leaf).gather(1, target[:, None]).sum().backward()
    return leaf.grad.abs().sum(1)


def through(model, x, t):
    """Backward into the inputs as they came."""
    if x.requires_grad:
        model(x).sum().backward()
    return good(model)(x, t)


def of_weights(model, x, t):
    grads = torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), list(model.parameters()))
    return good(model)(x, t) + 0 * grads[0].sum()


def softly(maps):
    return maps / maps.abs().max()


class Hooked:
    """Leaves a hook when the model fails."""

    def __init__(self, model):
        self.model = model

    def __call__(self, inputs, target):
        handle = self.model[0].register_forward_hook(lambda *_: None)
        maps = Gradient(self.model, channels="abs_sum")(inputs, target)
        handle.remove()
        return maps


def good(model):
    return Gradient(model, channels="abs_sum")


GRADIENTS = "requires_grad of the inputs is kept, .grad is not written"
EVAL = "a model in training mode is explained in eval mode"
TRAINING = "a model in training mode is evaluated in eval mode"
NAN, INF, IMAGE = (
    f"{what} is reported for that image alone" for what in ("a NaN in one map", "an Inf in one map", "a NaN in one image")
)
AFTER_ERROR = "the model is unchanged after an error"
OBJECT = "a model output with .logits is read, or raises an error"
INCREASING = "invariant to strictly increasing transforms of the map"
BEST = "the true contributions of a linear model have the best value"

# fault -> an explainer that has it and nothing else that its rule looks at, and the rule
EXPLAINERS = {
    "not a tensor": (lambda model: lambda x, t: None, "one finite map per image"),
    "coarse": (lambda model: lambda x, t: good(model)(x, t)[:, ::2, ::2], "the map has the size of the image"),
    "random": (lambda model: lambda x, t: torch.rand(len(x), *x.shape[2:]), "deterministic"),
    "scaled by its batch": (lambda model: lambda x, t: softly(good(model)(x, t)), "independent of batch composition"),
    "storage order": (lambda model: lambda x, t: x.as_strided((len(x), 12, 12), (432, 12, 1)), "independent of memory layout"),
    "square only": (lambda model: lambda x, t: good(model)(x, t).view(-1, 12, 12), "odd and non-square image sizes"),
    "fails on none": (
        lambda model: lambda x, t: good(model)(x, t)[torch.arange(max(len(x), 1))],
        "an empty batch gives an empty result",
    ),
    "no class": (lambda model: lambda x, t: x.abs().sum(1), "maps depend on the class"),
    "any class": (lambda model: lambda x, t: good(model)(x, t % CLASSES), "a class out of range raises an error"),
    "recycles": (lambda model: lambda x, t: good(model)(x, t.repeat(3)[: len(x)]), "too few classes raise an error"),
    "casts": (lambda model: lambda x, t: good(model)(x.float(), t), "uint8 images raise an error"),
    "in place": (lambda model: lambda x, t: good(model)(x.mul_(2), t), "inputs are not modified"),
    "grad of inputs": (lambda model: lambda x, t: through(model, x, t), GRADIENTS),
    "unflags inputs": (lambda model: lambda x, t: good(model)(x.requires_grad_(False), t), GRADIENTS),
    "weights' gradients": (lambda model: lambda x, t: of_weights(model, x, t), "frozen weights do not change the map"),
    "leaves .grad": (lambda model: lambda x, t: gradient(model, x, t), "the model is unchanged"),
    "leaves a hook": (Hooked, "the model is unchanged after an error"),
    "to eval mode": (lambda model: lambda x, t: good(model.eval())(x, t), EVAL),
    "needs gradients": (lambda model: lambda x, t: _needs(model, x, t), "works inside no_grad"),
    "centred": (lambda model: lambda x, t: x.sum(1) - x.mean(), "a NaN in one image does not affect the others"),
}


def _needs(model, x, t):
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(leaf).gather(1, t[:, None]).sum(), leaf)[0].abs().sum(1)


@pytest.mark.parametrize("fault", EXPLAINERS)
def test_a_planted_fault_of_an_explainer_is_found(fault):
    make, rule = EXPLAINERS[fault]
    assert breaks(explainer_rules(make), rule)


def test_every_rule_of_an_explainer_is_shown_to_fail():
    rules = {rule for rule, _ in explainer_rules(good)}
    assert rules - {rule for _, rule in EXPLAINERS.values()} == {"works inside inference_mode"}  # falls with no_grad
    assert breaks(explainer_rules(EXPLAINERS["needs gradients"][0]), "works inside inference_mode")


DELETION, FIDELITY = ours(Deletion(ZERO, FEW)), ours(Fidelity(ZERO, FEW))


def hooked(model, x, t, a):
    handle = model[0].register_forward_hook(lambda *_: None) if isinstance(model, torch.nn.Sequential) else None
    values = DELETION(model, x, t, a)
    if handle is not None:
        handle.remove()
    return values


def resized(maps):
    return functional.interpolate(maps[:, None], (12, 12))[:, 0]


def centred(values):
    return values - values.mean()


METRICS = {
    "one number": (lambda m, x, t, a: DELETION(m, x, t, a).mean(), "one finite value per image"),
    "random": (lambda m, x, t, a: DELETION(m, x, t, a) + torch.rand(len(x)), "deterministic"),
    "minus its batch": (lambda m, x, t, a: centred(DELETION(m, x, t, a)), "independent of batch composition"),
    "storage order": (lambda m, x, t, a: a.as_strided((len(a), 144), (144, 1))[:, 20].double(), "independent of memory layout"),
    "square only": (lambda m, x, t, a: DELETION(m, x, t, a.view(-1, 12, 12)), "odd and non-square image sizes"),
    "fails on none": (
        lambda m, x, t, a: DELETION(m, x, t, a)[torch.arange(max(len(x), 1))],
        "an empty batch gives an empty result",
    ),
    "divides": (lambda m, x, t, a: DELETION(m, x, t, a) + 0 / a.flatten(1).std(1), "a constant map has a value"),
    "hides NaN": (lambda m, x, t, a: DELETION(m, x, t, a.nan_to_num(0)), NAN),
    "bounds": (lambda m, x, t, a: DELETION(m, x, t, a.clamp(max=9)), INF),
    "fills in": (lambda m, x, t, a: DELETION(m, x.nan_to_num(0), t, a), IMAGE),
    "reads rows": (lambda m, x, t, a: DELETION(m, x, t, a) + a[:, 1, 0], "images of height 1"),
    "any class": (lambda m, x, t, a: DELETION(m, x, t % CLASSES, a), "a class out of range raises an error"),
    "recycles": (lambda m, x, t, a: DELETION(m, x, t.repeat(3)[: len(x)], a), "too few classes raise an error"),
    "casts": (lambda m, x, t, a: DELETION(m, x.float(), t, a), "uint8 images raise an error"),
    "leaves a hook": (lambda m, x, t, a: hooked(m, x, t, a), AFTER_ERROR),
    "own read-out": (lambda m, x, t, a: m(x).gather(1, t[:, None])[:, 0].detach(), OBJECT),
    "needs gradients": (lambda m, x, t, a: _needs(m, x, t).flatten(1).sum(1), "works inside no_grad"),
    "sign bit": (
        lambda m, x, t, a: DELETION(m, x, t, a - 9.0 * (torch.signbit(a) & (a == 0)) * (a[:, :1] > 0)),
        "-0 and +0 are equal",
    ),
    "resizes": (lambda m, x, t, a: DELETION(m, x, t, resized(a)), "maps of a wrong size raise an error"),
    "zips": (lambda m, x, t, a: DELETION(m, x[: len(a)], t[: len(a)], a), "too few maps raise an error"),
    "in place": (lambda m, x, t, a: DELETION(m, x, t, a.mul_(2)), "inputs and maps are not modified"),
    "draws": (lambda m, x, t, a: (torch.rand(1), DELETION(m, x, t, a))[1], "the model is unchanged"),
    "as it comes": (lambda m, x, t, a: m(x).gather(1, t[:, None])[:, 0].detach(), TRAINING),
    "squares": (lambda m, x, t, a: DELETION(m, x, t, a**2), INCREASING),
    "reads values": (lambda m, x, t, a: DELETION(m, x, t, a) + a[:, 0, 0], "invariant to a positive factor"),
    "of the map": (lambda m, x, t, a: a.flatten(1).argmax(1).double(), "all maps have the same value on a constant model"),
    "upside down": (lambda m, x, t, a: DELETION(m, x, t, -a), BEST),
    "also upside down": (lambda m, x, t, a: DELETION(m, x, t, -a), "their negative has the worst value"),
    "one curve": (lambda m, x, t, a: -DELETION(m, x, t, a), "the negated map has the negated value"),
    "an offset": (lambda m, x, t, a: FIDELITY(m, x, t, a) + 1, "a constant model gives 0"),
}


@pytest.mark.filterwarnings("ignore:.*training mode")
@pytest.mark.parametrize("fault", METRICS)
def test_a_planted_fault_of_a_metric_is_found(fault):
    metric, rule = METRICS[fault]
    rules = MetricRules(metric)
    assert breaks(rules.common() + rules.of_an_order(-1) + rules.of_a_difference(), rule)


def test_every_rule_of_a_metric_is_shown_to_fail():
    rules = MetricRules(DELETION)
    named = {rule for rule, _ in rules.common() + rules.of_an_order(1) + rules.of_a_difference()}
    assert named - {rule for _, rule in METRICS.values()} == {"works inside inference_mode"}  # falls with no_grad
    assert breaks(MetricRules(METRICS["needs gradients"][0]).common(), "works inside inference_mode")
    with pytest.raises(ValueError, match="expected kind to be one of 'deletion', 'insertion', 'fidelity', 'other', got 'auc'"):
        check_metric(DELETION, "auc")


def test_the_linear_model_is_what_its_contributions_say():
    model, inputs = LinearNet(), images(4)
    torch.testing.assert_close(model.contributions(inputs).sum((1, 2)), model(inputs)[:, 0])


def captum_infidelity(model, inputs, target, maps):
    """Captum's own, with one fixed perturbation: two of three values become 0."""
    infidelity = pytest.importorskip("captum.metrics").infidelity

    def perturb(x):
        keep = (torch.arange(x[0].numel()).view(x.shape[1:]) % 3 == 0).to(x)
        return (1 - keep).expand_as(x) * x, x * keep

    each = maps[:, None].expand(-1, inputs.shape[1], -1, -1)
    return infidelity(model, perturb, inputs, each, target=target, n_perturb_samples=1)


def test_captum(capsys):
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    for kind in ("Saliency", "InputXGradient", "IntegratedGradients"):
        table = check_explainer(getattr(attr, kind), kind)
        print(table)
        assert not {"one finite map per image", "deterministic", "maps depend on the class"} & set(table.failed)
    table = check_metric(captum_infidelity, name="infidelity")
    print(table)
    assert not {"one finite value per image", "deterministic", "inputs and maps are not modified"} & set(table.failed)
    assert "rules hold" in capsys.readouterr().out


def test_torchcam(capsys):
    methods = pytest.importorskip("torchcam.methods", reason="torch-cam is not installed")

    def make(model):
        extractor = methods.GradCAM(model, target_layer=model[2])

        def explain(inputs, target):
            with torch.enable_grad():
                scores = model(inputs.clone().requires_grad_(True))
                return extractor(target.tolist(), scores)[0]

        return explain

    table = check_explainer(make, "torch-cam GradCAM")
    print(table)
    assert "one finite map per image" not in table.failed and "rules hold" in capsys.readouterr().out
