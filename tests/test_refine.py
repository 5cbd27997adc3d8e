"""Refinement: each term of the losses, each network, what is kept and what is promised. No real data, seconds only."""

import math
from copy import deepcopy
from unittest.mock import MagicMock, patch

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_vae import refine as chapter
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.classifier import Classifier
from mnist_vae.generator import DigitGenerator, default_weights
from mnist_vae.prior import ClassPrior
from mnist_vae.refine import BATCH_SIZE, LOOK_EVERY, N_RECON, STEPS_AHEAD, as_seen, refine
from mnist_vae.tone import Tone

WEIGHTS = dict(pixels=1.0, features=2.0, reader=3.0, perceptual=5.0, bce=7.0, specks=11.0)
OF_LOOKS = {'features', 'reader', 'perceptual', 'bce'}
TONE = Tone(black=0.1, white=0.9)


@pytest.fixture(scope='module')
def setup():
    "A model, its prior, 300 images with labels, and a reader."
    model, checkpoint = load_checkpoint(default_weights())
    model.tone = TONE
    labels = torch.arange(10).repeat(30)
    images = (DigitGenerator.load().sample(labels, seed=5) * 255).byte()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = Classifier(8).eval()
    return model, ClassPrior(**checkpoint['prior']), images, labels, reader


def refinement(setup, seed: int) -> chapter._Refinement:
    model, prior, images, labels, reader = setup
    return chapter._Refinement(
        model,
        prior,
        images,
        labels,
        reader,
        epochs=2,
        lr=1e-3,
        critic_lr=2e-3,
        weights=WEIGHTS,
        ema=0.9,
        seed=seed,
        device=torch.device('cpu'),
    )


@pytest.fixture
def run(setup):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield refinement(setup, seed=3)
    torch.set_num_threads(n_threads)


def short(setup, epochs=1, **options):
    "A refinement of a copy: the copy and the history."
    model, prior, images, labels, reader = setup
    model = deepcopy(model)
    return model, refine(
        model, prior, images, labels, epochs=epochs, device='cpu', progress=False, **dict(reader=reader) | options
    )


class Bar:
    n = 0

    def update(self):
        self.n += 1


def test_hinge_loss():
    "E[1 − C(x)]₊ + E[1 + C(x̃)]₊, by hand, with a critic that sums."
    seen = []

    def critic(x, y):
        seen.append(y)
        return x.sum(1)

    real, drawn = torch.tensor([[2.0, 0.0], [0.25, 0.25]]), torch.tensor([[-3.0, 0.0], [0.5, 0.0]])
    loss = chapter._critic_loss(critic, real, drawn, torch.eye(2))
    assert loss.item() == (0 + 0.5) / 2 + (0 + 1.5) / 2
    assert torch.equal(seen[0], torch.cat([torch.eye(2), torch.eye(2)]))


@pytest.mark.parametrize(
    'make, n, shape', [(chapter._pixel_critic, 128, (784,)), (chapter._feature_critic, 256, (128,))]
)
def test_critic_is_a_projection_of_bounded_slope(make, n, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = make().eval()
    x, y = torch.rand(4, *shape), torch.eye(10)[:4]
    h = critic.body(x)
    assert h.shape == (4, n)
    torch.testing.assert_close(
        critic(x, y), h @ critic.out.weight[0] + critic.out.bias + (h * critic.embed.weight.T[:4]).sum(1)
    )
    layers = [layer for layer in critic.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    assert len(layers) == (7 if shape == (784,) else 4) and critic.embed.bias is None
    for layer in layers:
        assert abs(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) - 1) < 0.1, 'spectrally normalised'
    assert all(layer.negative_slope == 0.1 for layer in critic.modules() if isinstance(layer, nn.LeakyReLU))
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in critic.modules()) == len(layers) - 2
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, *c.kernel_size[:1], c.stride[0], c.padding[0]) for c in convs] in (
        [],
        [(1, 8, 3, 1, 1), (8, 16, 3, 1, 1), (16, 32, 4, 2, 1), (32, 32, 4, 2, 1)],
    )


def test_batch_is_what_decoder_and_reader_make_of_the_images(run, setup):
    model, prior, images, labels, reader = setup
    i, latents = (
        torch.arange(40, 40 + BATCH_SIZE),
        prior.sample(labels[:BATCH_SIZE], torch.Generator().manual_seed(1)).float(),
    )
    stream = torch.Generator()
    stream.set_state(run.generator.get_state())
    batch = run.batch(i, latents)
    x, y, some = images[i].flatten(1) / 255, F.one_hot(labels[i]).float(), slice(N_RECON)
    mu, logvar = model.encode(x[some])
    z = mu + torch.exp(0.5 * logvar) * torch.randn(N_RECON, 20, generator=stream)
    shift = torch.randint(-2, 3, (2,), generator=stream).tolist()
    moved = lambda t: t.view(-1, 28, 28).roll(shift, (1, 2))
    seen = lambda logits: (255 * TONE(torch.sigmoid(logits))).round() / 255
    scale = 1 / reader.features(images / 255).std()
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    look = batch.look
    close(batch.x, x)
    close(look.x, x[some])
    close(look.recon_logits, model.decoder(z, y[some]))
    assert ((batch.drawn - seen(model.decoder(latents, y))).abs() < 1.1 / 255).all(), 'levels and bytes'
    close(255 * batch.drawn, (255 * batch.drawn).round())
    close(look.h_real, scale * reader.features(moved(x)))
    close(look.h_recon, scale * reader.features(moved(seen(look.recon_logits))))
    close(look.h_drawn, scale * reader.features(moved(batch.drawn)))
    close(look.read_logits, reader(moved(batch.drawn)))
    assert torch.equal(batch.labels, labels[i]) and torch.equal(batch.y, y) and shift != [0, 0]
    assert abs(look.h_real.std() - 1) < 0.2
    pairs = batch.for_critics()
    assert pairs['pixels'][0] is batch.x and pairs['pixels'][1] is batch.drawn
    assert pairs['features'][0] is look.h_real and pairs['features'][1] is look.h_drawn


def test_the_reader_looks_at_every_other_step(run):
    "Between, the critic of pixels and the specks are all that counts."
    i, latents = torch.arange(BATCH_SIZE), torch.zeros(BATCH_SIZE, 20)
    looked = []
    with patch.object(run.reader, 'features', wraps=run.reader.features) as features:
        for _ in range(4):
            before = features.call_count
            losses = run.step(i, latents)
            looked.append((features.call_count > before, set(losses)))
    rest = {'pixels', 'specks'}
    assert LOOK_EVERY == 2 and looked == 2 * [(True, rest | OF_LOOKS), (False, rest)]
    assert run.batch(i, latents).look and not setattr(run, 'n_steps', 5) and run.batch(i, latents).look is None


def test_the_gradient_goes_straight_through_levels_and_bytes():
    s = torch.rand(3, 784, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for tone in (TONE, None):
        drawn, weight = as_seen(s, tone), torch.randn(3, 784, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(drawn, (255 * (TONE(s) if tone else s)).round() / 255)
        torch.testing.assert_close(torch.autograd.grad((weight * drawn).sum(), s)[0], weight)


def test_specks_are_ink_beyond_twice_that_of_the_neighbours():
    "In the middle, in a corner, beside others; the gradient reaches the speck, and no neighbour is asked to be inked."
    pixels = torch.zeros(5, 28, 28)
    pixels[0, 5, 5] = 0.5
    pixels[1, 0, 27] = 0.5
    pixels[2, 5, 5], pixels[2, 4, 6] = 0.5, 0.1
    pixels[3, 5, 5], pixels[3, 5, 6] = 0.5, 0.5
    pixels[4, 5, 27], pixels[4, 6, 0] = 0.5, 0.5  # neighbours in memory, not on paper
    drawn = pixels.flatten(1).requires_grad_()
    specks = chapter._specks(drawn)
    torch.testing.assert_close(specks, torch.tensor([0.5, 0.5, 0.3, 0.0, 1.0]))
    gradient = torch.autograd.grad(specks.sum(), drawn)[0].view(5, 28, 28)
    assert gradient.nonzero().tolist() == [[0, 5, 5], [1, 0, 27], [2, 5, 5], [4, 5, 27], [4, 6, 0]]


def test_terms_of_the_decoder(run):
    "Each is what the formula says."
    batch = run.batch(torch.arange(BATCH_SIZE), torch.randn(BATCH_SIZE, 20, generator=torch.Generator().manual_seed(1)))
    run.critics.eval()  # without another step of the power iteration
    terms = run.decoder_terms(batch)
    look = batch.look
    log_p = look.read_logits.log_softmax(1)[torch.arange(BATCH_SIZE), batch.labels]
    probability, x = torch.sigmoid(look.recon_logits.double()), batch.x[:N_RECON].double()
    expected = dict(
        pixels=-run.critics['pixels'](batch.drawn, batch.y).mean(),
        features=-run.critics['features'](look.h_drawn, batch.y).mean(),
        reader=torch.clamp(-log_p - math.log(2), min=0).mean(),
        perceptual=(look.h_recon - look.h_real[:N_RECON]).square().mean(),
        bce=-(x * probability.log() + (1 - x) * (1 - probability).log()).sum(1).mean().float(),
        specks=chapter._specks(batch.drawn).mean(),
    )
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert all(p.requires_grad for p in run.critics.parameters())
    sum(terms.values()).backward()
    assert all(p.grad is None for p in run.critics.parameters()), 'the decoder moves, not the critics'
    assert all(p.grad.any() for p in run.decoder.parameters()) and not any(
        p.requires_grad for p in run.reader.parameters()
    )


def test_reader_is_silent_where_it_gives_the_digit_more_than_half(run):
    batch = run.batch(torch.arange(BATCH_SIZE), torch.zeros(BATCH_SIZE, 20))
    for share, term in ((0.51, 0.0), (0.25, math.log(2))):
        batch.look.read_logits = torch.full((BATCH_SIZE, 10), (1 - share) / 9).log()
        batch.look.read_logits[torch.arange(BATCH_SIZE), batch.labels] = math.log(share)
        assert abs(run.decoder_terms(batch)['reader'].item() - term) < 1e-5


@pytest.mark.filterwarnings('ignore:.*lr_scheduler')  # no optimiser moves here
def test_each_term_counts_by_its_weight(run):
    "The gradient in each term is its weight, twice that of what every other step has; then rates and average."
    terms = {name: torch.ones((), requires_grad=True) for name in WEIGHTS}
    before, rates = (
        deepcopy(run.average.state_dict()),
        [s.get_last_lr()[0] for s in (run.schedule, run.critic_schedule)],
    )
    assert rates == [1e-3, 2e-3]
    for p in run.decoder.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        for p in run.decoder.parameters():
            p += 1
    run.train_decoder(terms)
    assert {name: t.grad.item() for name, t in terms.items()} == {
        name: weight * (LOOK_EVERY if name in OF_LOOKS else 1) for name, weight in WEIGHTS.items()
    }
    assert all(p.grad is None for p in run.decoder.parameters()), 'the gradients of the step before are gone'
    assert run.n_steps == 1 and [s.last_epoch for s in (run.schedule, run.critic_schedule)] == [1, 1]
    for name, average in run.average.named_parameters():
        torch.testing.assert_close(average, before[name] + 0.9)  # 1 − 1/10 of the way


@pytest.mark.filterwarnings('ignore:.*optimizer.step')  # replaced here
def test_a_step_trains_the_critics_first_and_then_the_decoder(run):
    order, i = [], torch.arange(BATCH_SIZE)
    with (
        patch.object(run.critic_opt, 'step', lambda: order.append('critics')),
        patch.object(run.opt, 'step', lambda: order.append('decoder')),
    ):
        losses = run.step(i, torch.zeros(BATCH_SIZE, 20))
    assert order == ['critics', 'decoder'] and set(losses) == set(WEIGHTS)
    assert not any(loss.requires_grad for loss in losses.values())
    grads, run.n_steps = [p.grad.clone() for p in run.critics.parameters()], 0  # the reader looks again
    with patch.object(run.critic_opt, 'step', lambda: None):
        run.train_critics(run.batch(i, torch.zeros(BATCH_SIZE, 20)))
    assert all(
        a.abs().sum() < 1.9 * b.abs().sum() + 1 for a, b in zip((p.grad for p in run.critics.parameters()), grads)
    ), 'set to 0 first'


def test_an_epoch_shows_full_batches_and_begins_with_the_critics(run, setup):
    "300 images are two full batches; before the first epoch the critics alone see them, at most `STEPS_AHEAD`."
    seen, bar = [], Bar()
    with (
        patch.object(run, 'train_critics', wraps=run.train_critics) as critics,
        patch.object(run, 'train_decoder', wraps=run.train_decoder) as decoder,
        patch.object(
            run, 'batch', side_effect=lambda i, latents, batch=run.batch: (seen.append(i), batch(i, latents))[1]
        ),
    ):
        row = run.epoch(bar)
        assert (critics.call_count, decoder.call_count, bar.n) == (4, 2, 2)
        run.epoch(bar)
        assert (critics.call_count, decoder.call_count, bar.n) == (6, 4, 4)
    assert all(len(i) == BATCH_SIZE == 128 for i in seen) and STEPS_AHEAD == 200
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3]) and not torch.equal(seen[0], seen[4])
    assert len(set(torch.cat(seen[:2]).tolist())) == 256, 'no image twice'
    assert list(row) == ['epoch', 'pixels', 'features', 'specks', 'reader', 'perceptual', 'bce']
    assert [r['epoch'] for r in run.history] == [1, 2] and run.history[0] is row
    assert abs(run.schedule.get_last_lr()[0]) < 1e-9 and abs(run.critic_schedule.get_last_lr()[0]) < 1e-9, (
        'half a cosine ends at 0'
    )
    with patch.object(run, 'step', return_value=dict(pixels=torch.tensor(4.0), bce=torch.tensor(6.0))):
        assert run.epoch(bar) == dict(epoch=3, pixels=4.0, bce=6.0), 'the mean over the steps'


def test_the_critics_see_no_more_than_200_batches_ahead(run):
    with (
        patch.object(chapter, 'STEPS_AHEAD', 1),
        patch.object(run, 'train_critics', wraps=run.train_critics) as critics,
    ):
        run.epoch(Bar())
    assert critics.call_count == 3


def test_samples_are_of_the_labels_beside_them(run, setup):
    _, prior, _, labels, _ = setup
    with (
        patch.object(
            ClassPrior, 'sample', side_effect=lambda y, g: torch.arange(300.0).double()[:, None].expand(300, 20)
        ) as sample,
        patch.object(
            run,
            'batch',
            side_effect=lambda i, latents, batch=run.batch: (seen.append((i, latents)), batch(i, latents))[1],
        ),
    ):
        seen = []
        run.epoch(Bar())
    assert (
        torch.equal(sample.call_args[0][0], labels)
        and sample.call_args[0][1] is run.generator
        and sample.call_count == 1
    )
    for i, latents in seen:
        assert torch.equal(latents[:, 0], i.float()) and latents.dtype == torch.float32


def test_state_is_all_that_another_run_needs(run, setup):
    run.epoch(Bar())
    state = deepcopy(run.state())
    other = refinement(setup, seed=4)
    other.load_state(state)
    assert run.epoch(Bar()) == other.epoch(Bar()) and run.history == other.history and run.n_steps == other.n_steps == 4
    for name, t in run.average.state_dict().items():
        assert torch.equal(t, other.average.state_dict()[name])


def test_arguments_reach_the_run(setup):
    "Each hyperparameter is used where it belongs."
    given = dict(
        lr=0.1,
        critic_lr=0.2,
        reader_weight=0.3,
        feature_weight=0.4,
        perceptual_weight=0.5,
        bce_weight=0.6,
        speck_weight=0.9,
        ema=0.7,
        seed=8,
    )
    with patch.object(chapter, '_Refinement', side_effect=InterruptedError) as made, pytest.raises(InterruptedError):
        short(setup, 9, **given)
    assert made.call_args[0][5:] == (
        9,
        0.1,
        0.2,
        dict(pixels=1.0, reader=0.3, features=0.4, perceptual=0.5, bce=0.6, specks=0.9),
        0.7,
        8,
        torch.device('cpu'),
    )
    defaults = short.__globals__['refine'].__wrapped__.__defaults__
    assert defaults[:10] == (30, 3e-4, 8e-4, 20.0, 0.45, 15.0, 0.02, 4.0, 0.999, 0)


def test_reader_is_trained_if_none_is_given(setup):
    _, _, images, labels, reader = setup
    with patch.object(chapter, 'train_classifier', return_value=reader) as trained:
        model, history = short(setup, reader=None, seed=6)
    assert trained.call_args[0][0] is images and trained.call_args[0][1] is labels
    assert trained.call_args[1] == dict(seed=6, device=torch.device('cpu'), progress=False, resume=None)
    assert history == short(setup, seed=6)[1]


def test_what_refine_promises(setup):
    original, _, images, labels, reader = setup
    before, state, training = deepcopy(original.state_dict()), torch.get_rng_state(), reader.training
    model, history = short(setup, 2, seed=2)
    assert torch.equal(state, torch.get_rng_state()), 'the global random state is left as it was'
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items() if name.startswith('encoder.')), (
        'the encoder stays'
    )
    assert not any(
        torch.equal(t, before[name]) for name, t in model.state_dict().items() if name.startswith('decoder.')
    )
    assert (
        all(p.requires_grad for p in model.parameters())
        and all(p.requires_grad for p in reader.parameters())
        and reader.training == training
    )
    columns = ['epoch', 'pixels', 'features', 'specks', 'reader', 'perceptual', 'bce']
    assert [list(row) for row in history] == 2 * [columns]
    assert 1 < history[0]['pixels'] < 3 and 1 < history[0]['features'] < 3 and 40 < history[0]['bce'] < 100
    assert history == short(setup, 2, seed=2)[1] != short(setup, 2, seed=3)[1]
    with patch.object(chapter._Refinement, 'epoch', side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        refine(original, *setup[1:4], reader=reader, device='cpu', progress=False)
    with pytest.raises(FloatingPointError, match='epoch 1: try a learning rate below lr=1e[+]30'):
        refine(original, *setup[1:4], reader=reader, lr=1e30, device='cpu', progress=False)
    assert all(torch.equal(t, before[name]) for name, t in original.state_dict().items()), (
        'a failure leaves the decoder as it was'
    )


def test_the_average_is_the_result(setup):
    made = []
    with patch.object(
        chapter, '_Refinement', side_effect=lambda *args, make=chapter._Refinement: made.append(make(*args)) or made[0]
    ):
        model, history = short(setup)
    (run,) = made
    assert history is run.history
    for name, t in model.decoder.state_dict().items():
        assert torch.equal(t, run.average.state_dict()[name]) and not torch.equal(t, run.decoder.state_dict()[name])


@pytest.mark.parametrize(
    'name, bad',
    [
        ('epochs', 0),
        ('epochs', 1.5),
        ('seed', -1),
        ('seed', 2**32),
        ('lr', 0),
        ('lr', math.inf),
        ('critic_lr', -1),
        ('reader_weight', -1),
        ('feature_weight', -0.1),
        ('perceptual_weight', math.nan),
        ('bce_weight', '1'),
        ('speck_weight', -1),
        ('ema', 1),
    ],
)
def test_odd_values_are_refused_by_name(setup, name, bad):
    with pytest.raises(ValueError, match=f'^{name} must be '):
        refine(*setup[:4], **{name: bad})


def test_odd_data_is_refused(setup):
    model, prior, images, labels, reader = setup
    for data, words in (
        ((images / 255, labels), 'images must be'),
        ((images, labels[1:]), 'labels must be'),
        ((images[:127], labels[:127]), 'at least 128 images, got 127'),
    ):
        with pytest.raises(ValueError, match=words):
            refine(model, prior, *data, reader=reader)


def test_adam_of_the_networks(run):
    for opt, lr, network in ((run.opt, 1e-3, run.decoder), (run.critic_opt, 2e-3, run.critics)):
        (group,) = opt.param_groups
        assert (group['initial_lr'], group['betas'], group['fused']) == (lr, (0.5, 0.99), True)
        assert [id(p) for p in group['params']] == [id(p) for p in network.parameters()]


def test_refine_goes_on_from_a_state(setup):
    "And keeps one after each epoch."
    resume = MagicMock(kept=MagicMock(return_value=None))
    whole, history = short(setup, 2, resume=resume)
    assert [(call.args[0], call.args[2]) for call in resume.keep.call_args_list] == [
        ('refinement', f'refinement, epoch {n} of 2') for n in (1, 2)
    ]

    def stop(stage, state, place):
        kept.append(deepcopy(state))
        raise InterruptedError

    resume.keep.side_effect = stop
    kept = []
    with pytest.raises(InterruptedError):
        short(setup, 2, resume=resume)
    assert kept[0]['n_steps'] == 2 and kept[0]['history'] == history[:1]
    resume = MagicMock(kept=MagicMock(return_value=kept[0]))
    model, again = short(setup, 2, resume=resume)
    assert resume.kept.call_args.args == ('refinement',) and resume.keep.call_count == 1 and again == history
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in model.state_dict().items())
