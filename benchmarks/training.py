"""How long an epoch of training takes: ours, the usual loop, pythae's trainer, and the matrix products alone.

    python benchmarks/training.py            # pip install pythae for its line; without, it is left out

Every one trains the same networks on 60,000 images at batch 128 on the CPU. They take turns, several rounds, so that
whatever else the computer does falls on all of them; what counts is ratios of medians, and of the fastest. Ours is the
epochs of `train`; what it does besides, once, is reported apart.
"""
import logging
import os
import tempfile
import time

os.environ['TQDM_DISABLE'] = '1'             # pythae's bars would stand among the figures

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from common import arguments, machine, save, seconds, summary, take_turns
from mnist_vae.data import load_mnist
from mnist_vae.loss import vae_loss
from mnist_vae.model import HIDDEN, LATENT_DIM, N_CLASSES, N_PIXELS, VAE
from mnist_vae.training import train

BATCH = 128
OURS, USUAL, PYTHAE, FLOOR = 'ours', 'the usual loop', "pythae's trainer", 'matrix products alone'


class Pictures(MNIST):
    "torchvision's own data set, with `ToTensor` for every image, from tensors instead of its files."

    def __init__(self, images, labels):
        self.data, self.targets, self.transform, self.target_transform = images, labels, ToTensor(), None


def usual_loop(images, labels):
    "The loop of most tutorials: an image at a time, plain Adam, `.item()` at every step."
    model = VAE()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    total = 0.
    for x, y in DataLoader(Pictures(images, labels), batch_size=BATCH, shuffle=True):
        recon_x, mu, logvar = model(x.flatten(1), y)
        loss = vae_loss(recon_x, x.flatten(1), mu, logvar)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item()


def floor(images):
    """The matrix products of an epoch and nothing else: one forward and up to two backward for each layer; mu and
    logvar are one."""
    h1, h2 = HIDDEN
    sizes = [(N_PIXELS, h1), (h1, h2), (h2, 2 * LATENT_DIM), (LATENT_DIM + N_CLASSES, h2), (h2, h1), (h1, N_PIXELS)]
    layers = [
        [torch.rand(*shape) for shape in ((BATCH, i), (o, i), (BATCH, o), (BATCH, o), (o, i), (BATCH, i))]
        for i, o in sizes
    ]
    for _ in range(-(-len(images) // BATCH)):
        for n, (x, w, g, a, gw, gx) in enumerate(layers):
            torch.mm(x, w.T, out=a)
            torch.mm(g.T, x, out=gw)
            if n: torch.mm(g, w, out=gx)                             # the image needs no gradient


def pythae_trainer(images, labels) -> float:
    """Seconds of an epoch of pythae's BaseTrainer with our layers; its VAE has no labels, so its decoder is ten inputs
    narrower."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    logging.disable(logging.CRITICAL)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = VAE().encoder
        def forward(self, x):
            mu, logvar = self.net(x.flatten(1))
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            h1, h2 = HIDDEN
            self.net = torch.nn.Sequential(
                torch.nn.Linear(LATENT_DIM, h2), torch.nn.ReLU(), torch.nn.Linear(h2, h1), torch.nn.ReLU(),
                torch.nn.Linear(h1, N_PIXELS), torch.nn.Sigmoid(),
            )
        def forward(self, z): return ModelOutput(reconstruction=self.net(z).view(-1, 1, 28, 28))

    with tempfile.TemporaryDirectory() as folder:
        model = PythaeVAE(
            VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT_DIM, reconstruction_loss='bce'), Encoder(), Decoder()
        )
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=BATCH, no_cuda=True
        )
        trainer = BaseTrainer(model, BaseDataset(images[:, None] / 255, labels), training_config=config)
        trainer.prepare_training()
        return seconds(lambda: trainer.train_step(1))


def main() -> None:
    args = arguments(__file__, __doc__, rounds=5)
    images, labels = load_mnist()
    start_up = []

    def ours() -> float:
        start, history = time.perf_counter(), []
        whole = seconds(lambda: history.extend(train(images, labels, epochs=1, device='cpu', progress=False)[1]))
        share = history[0]['seconds'] / (time.perf_counter() - start)
        start_up.append(whole * (1 - share))
        return whole * share

    contestants = {
        OURS: ours,
        USUAL: lambda: seconds(lambda: usual_loop(images, labels)),
        FLOOR: lambda: seconds(lambda: floor(images)),
    }
    try:
        import pythae  # noqa: F401
        contestants[PYTHAE] = lambda: pythae_trainer(images, labels)
    except ModuleNotFoundError: print('pythae is not installed: its line is left out')
    figures = summary(take_turns(contestants, args.rounds))
    base, ours_, usual = (figures[name]['median'] for name in (FLOOR, OURS, USUAL))
    print(f"{'one epoch on the CPU':24}{'× products':>11}{'fastest':>9}{'seconds':>9}{'fastest':>9}")
    for name, s in sorted(figures.items(), key=lambda item: -item[1]['median']):
        print(
            f"{name:24}{s['median'] / base:11.2f}{s['fastest'] / figures[FLOOR]['fastest']:9.2f}"
            f"{s['median']:9.2f}{s['fastest']:9.2f}"
        )
    print(
        f'ours is {usual / ours_:.2f} times as fast as the usual loop; '
        f'the products alone would be {usual / base:.2f} times. '
        f'Start-up of ours: {min(start_up):.2f} s, once.'
    )
    print(
        'Medians of {rounds} rounds; {cpu}, {threads} threads, {clock} time, PyTorch {torch}.'.format(
            rounds=args.rounds, **machine()
        )
    )
    save(args.out, dict(rounds=args.rounds, seconds=figures, start_up=min(start_up)))


if __name__ == '__main__': main()
