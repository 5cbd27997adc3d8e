"""What a stranger may send: memory stays within its bound, and no sentence of an imaging library reaches a visitor."""
import ctypes
import io
import multiprocessing
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

import doubt
import reading
from mnist_vae.generator import DigitGenerator
from mnist_vae.picture import FORMATS, VISITORS, PictureError, read_picture, read_pictures

BOUND = 60  # MB above what the process had
# All that a visitor may be told.
SENTENCES = re.compile(
    r'''the\ picture\ (
    has\ \d+\.\d\ MB,\ 2\ are\ the\ limit:\ make\ it\ smaller
    |has\ \d+×\d+\ pixels,\ 8192\ are\ the\ limit\ for\ a\ side:\ make\ it\ smaller
    |has\ \d+×\d+\ pixels,\ \d+\.\d\ million\ are\ the\ limit
        \ for\ a\ (PNG|JPEG|MPO|WEBP|BMP|GIF)\ of\ its\ kind:\ make\ it\ smaller
    |has\ too\ many\ pixels:\ make\ it\ smaller
    |is\ a\ HEIC:\ save\ it\ as\ JPEG
    |cannot\ be\ read:\ use\ a\ PNG\ or\ JPEG\ that\ other\ programs\ open
    |shows\ no\ digit:\ draw\ or\ photograph\ one\ with\ more\ contrast)''',
    re.X,
)


def outcome(data: bytes, limits=VISITORS) -> str:
    "What a visitor is told, or nothing if the picture is read. Any other exception is an error of ours."
    try: assert read_picture(data, limits).shape == (28, 28)
    except PictureError as e:
        assert SENTENCES.fullmatch(str(e)), str(e)
        return str(e)
    return ''


def saved(image, kind, **options) -> bytes:
    image.save(out := io.BytesIO(), kind, **options)
    return out.getvalue()


# --- a PNG of any kind, of zeros, which zlib makes a thousand times smaller ---

def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def zeros(n: int) -> bytes:
    "`n` zeros, packed."
    packer, mega = zlib.compressobj(1), bytes(2**20)
    return b''.join(packer.compress(mega) for _ in range(n >> 20)) + packer.compress(bytes(n % 2**20)) + packer.flush()


def png(width, height, colour=0, depth=8, interlace=0, before=b'', after=b'') -> bytes:
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
    body = zeros((1 + -(-width * bits // 8)) * height * (2 if interlace else 1))
    palette = chunk(b'PLTE', bytes(768)) if colour == 3 else b''
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlace))
    return b'\x89PNG\r\n\x1a\n' + header + palette + before + chunk(b'IDAT', body) + after + chunk(b'IEND', b'')


def texts(kind: bytes, n: int, size: int) -> bytes:
    "`n` texts of `size` zeros each, under different names."
    content = {b'zTXt': b'\0\0', b'iTXt': b'\0\1\0\0\0'}[kind] + zeros(size)
    return b''.join(chunk(kind, b'%d' % i + content) for i in range(n))


def bmp_of_runs(side: int) -> bytes:
    "A BMP whose rows are runs of one colour."
    head = (
        b'BM'
        + struct.pack('<IHHI', 0, 0, 0, 1078)
        + struct.pack('<IiiHHIIiiII', 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
        + bytes(1024)
    )
    return head + (bytes([255, 7]) * (side // 255) + bytes([side % 255, 7, 0, 0])) * side + b'\0\1'


def gif_of_frames(n: int) -> bytes:
    "A GIF of `n` frames of one pixel."
    frame = b'\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0'
    return b'GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff' + frame * n + b';'


def gif_larger_than_its_screen(side: int) -> bytes:
    return b'GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0' + struct.pack('<HH', side, side) + b'\0\2\2\x44\1\0;'


def webp(side: int, **options) -> bytes: return saved(Image.new('RGB', (side, side)), 'WEBP', **options)


def jpeg(width, height, mode='RGB', **options) -> bytes:
    return saved(Image.new(mode, (width, height)), 'JPEG', **options)


def png_that_claims(width, height) -> bytes:
    whole = png(9, 9)
    return whole[:8] + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 6, 0, 0, 0)) + whole[33:]


def webp_that_claims(side: int) -> bytes:
    """The header of a lossless WebP has 14 bits for the width and 14 for the height, both less one, after a byte of
    signature."""
    whole = bytearray(webp(9, lossless=True))
    at = whole.index(b'VP8L') + 9
    whole[at:at + 4] = (side - 1 | side - 1 << 14).to_bytes(4, 'little')
    return bytes(whole)


HOSTILE = {
    'one pixel wide': lambda: png(1, 16_000_000),
    'one pixel high': lambda: png(16_000_000, 1),
    'one bit a pixel': lambda: png(8192, 8192, depth=1),
    'the largest side there is': lambda: png_that_claims(2**31 - 1, 2**31 - 1),
    'a row of the longest side': lambda: png(8192, 1),
    'a column of the longest side': lambda: png(1, 8192),
    'as large as it may be, grey': lambda: png(4096, 4096),
    'as large as it may be, colour': lambda: png(4096, 2048, 2),
    'as large as it may be, transparent': lambda: png(2048, 2048, 6),
    'as large as it may be, grey and transparent': lambda: png(2048, 2048, 4),
    'as large as it may be, palette': lambda: png(4096, 4096, 3),
    'interlaced': lambda: png(4096, 2048, 2, interlace=1),
    'transparent by a palette': lambda: png(4096, 4096, 3, before=chunk(b'tRNS', bytes(256))),
    'transparent by a colour': lambda: png(4096, 1024, 2, before=chunk(b'tRNS', bytes(6))),
    'sixteen bits': lambda: png(4096, 2048, 2, depth=16),
    'sixteen bits, grey': lambda: png(2048, 2048, 0, depth=16),
    'colours for printing': lambda: jpeg(5000, 4000, 'CMYK'),
    'an animated PNG': lambda: saved(Image.new('L', (3000, 2000)), 'PNG', save_all=True,
                                     append_images=[Image.new('L', (3000, 2000), 9)] * 3),
    'too large, transparent': lambda: png(4000, 4000, 6),
    'many texts': lambda: png(99, 99, before=texts(b'zTXt', 60, 2**20)),
    'many texts at the end': lambda: png(99, 99, after=texts(b'zTXt', 60, 2**20)),
    'many texts in Unicode': lambda: png(99, 99, before=texts(b'iTXt', 60, 2**20)),
    'a long text': lambda: png(99, 99, before=texts(b'zTXt', 1, 2**28)),
    'a colour profile': lambda: png(99, 99, before=chunk(b'iCCP', b'a\0\0' + zeros(2**28))),
    'more than its size says': lambda: png(99, 99)[:33] + chunk(b'IDAT', zeros(2**28)) + chunk(b'IEND', b''),
    'a hundred thousand chunks': lambda: png(99, 99, before=chunk(b'aaAa', b'') * 100_000),
    'JPEG': lambda: jpeg(8192, 4096, 'L'),
    'JPEG in colour': lambda: jpeg(5000, 4000, subsampling=0),
    'JPEG in colour, long': lambda: jpeg(8190, 1020, subsampling=0),
    'JPEG, progressive': lambda: jpeg(2048, 2048, progressive=True, subsampling=0),
    'JPEG, progressive, too large': lambda: jpeg(4000, 4000, progressive=True, subsampling=0),
    'JPEG, long': lambda: jpeg(65_000, 245, progressive=True),
    'WebP': lambda: webp(1440),
    'WebP, lossless': lambda: webp(1440, lossless=True),
    'WebP, too large': lambda: webp(4000),
    'WebP, largest': lambda: webp_that_claims(16383),
    'WebP, animated': lambda: webp(1440, save_all=True, append_images=[Image.new('RGB', (1440, 1440), 'red')] * 3),
    'BMP of runs': lambda: bmp_of_runs(2890),
    'BMP of long runs': lambda: bmp_of_runs(8192),
    'GIF': lambda: saved(Image.new('P', (3900, 3900)), 'GIF'),
    'GIF of a hundred thousand frames': lambda: gif_of_frames(100_000),
    'GIF larger than its screen': lambda: gif_larger_than_its_screen(65_535),
    'GIF a little larger': lambda: gif_larger_than_its_screen(4000),
    'TIFF': lambda: saved(Image.new('L', (4000, 4000)), 'TIFF', compression='tiff_lzw'),
    'ICO': lambda: saved(Image.new('L', (256, 256)), 'ICO'),
    'ICNS': lambda: b'icns' + struct.pack('>I', 2**31 - 1) + b'ic10' + struct.pack('>I', 2**31 - 1),
    'EPS': lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n',
    'SVG': lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9e9" height="9e9"/>',
    'PPM': lambda: b'P6 4000 4000 255\n' + bytes(9999),
    'a text by the name of a PNG': lambda: b'a text',
    'nothing': lambda: b'',
    'cut off': lambda: png(4000, 2000, 2)[:-200],
    'the head alone': lambda: png(9, 9)[:33],
}


def status(name: str) -> int:
    "A line of the process' state, in kB."
    return int(re.search(rf'^{name}:\s+(\d+)', Path('/proc/self/status').read_text(), re.M)[1])


# A fresh process, which forks one for each picture: what the tests' own process has freed would hide what a picture
# takes.
fresh = multiprocessing.get_context('forkserver') if 'forkserver' in multiprocessing.get_all_start_methods() else None
if fresh: fresh.set_forkserver_preload(['mnist_vae.picture'])


def measure(pipe, data: bytes, allowed: int) -> None:
    limits = replace(VISITORS, memory=allowed)
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')                        # the peak counts from now on
    before = status('VmRSS')
    said = outcome(data, limits)
    pipe.send(((status('VmHWM') - before) / 1024, said))


def peak(data: bytes, allowed: int = VISITORS.memory) -> tuple[float, str]:
    "Memory in MB that reading a picture adds at most, in a process of its own, and what a visitor is told."
    here, there = fresh.Pipe(duplex=False)
    child = fresh.Process(target=measure, args=(there, data, allowed))
    child.start()
    there.close()                                                    # so that a child that fails is an EOFError here
    with here: found = here.recv()
    child.join()
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='only Linux tells the peak of a process')
@pytest.mark.parametrize('name', HOSTILE)
def test_memory_stays_within_its_bound(name):
    data = HOSTILE[name]()
    megabytes, said = peak(data)
    assert megabytes < BOUND, said


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='only Linux tells the peak of a process')
def test_the_bound_is_measured():
    "What the limits keep out would be seen."
    megabytes, said = peak(png(4000, 4000, 6), allowed=2**30)
    assert megabytes > BOUND and 'shows no digit' in said


def test_refused_by_name():
    "Each limit says which it is."
    for name, words in {
        'one pixel wide': 'for a side',
        'too large, transparent': '4000×4000 pixels, 4.2 million are the limit for a PNG',
        'WebP, too large': '2.1 million are the limit for a WEBP',
        'JPEG, progressive, too large': '4.2 million',
        'TIFF': 'cannot be read',
        'GIF of a hundred thousand frames': 'shows no digit',
        'nothing': 'cannot be read',
        'cut off': 'cannot be read',
    }.items():
        assert words in outcome(HOSTILE[name]()), name
    for name in ('JPEG', 'JPEG in colour', 'JPEG, progressive', 'many texts', 'a long text', 'a colour profile'):
        assert 'shows no digit' in outcome(HOSTILE[name]()), f'{name}: read, and blank'


def damaged(data: bytes, random: Random) -> bytes:
    "A file after what disks, networks and strangers do to files."
    data = bytearray(data)
    for _ in range(random.choice([1, 1, 3, 20])):
        at, n = random.randrange(len(data)), random.choice([1, 2, 8, 100])
        match random.randrange(5):
            case 0: data[at] ^= 1 << random.randrange(8)
            case 1: data[at:at + n] = random.randbytes(n)
            case 2: del data[at:at + n]
            case 3: data[at:at] = random.randbytes(n)
            case 4: data[at:at + 4] = random.choice([b'\0' * 4, b'\xff' * 4, b'\x7f\xff\xff\xff', b'\0\0\0\1'])
        if len(data) < 2: break
    return bytes(data[:random.randrange(1, len(data) + 1)] if random.random() < .2 else data)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', [*FORMATS, 'MPO'])
def test_damaged_files_are_read_or_refused_in_our_words(kind):
    "Two hundred of each format, the same in every run. Pillow warns of some, in the log."
    page = np.full((120, 100), 240, np.uint8)
    page[20:90, 40:52] = 10
    picture = Image.fromarray(page)
    exif = picture.getexif()
    exif[0x0112] = 6
    wholes = [saved(picture, kind)]
    if kind in ('PNG', 'WEBP', 'JPEG'): wholes.append(saved(picture.convert('RGB'), kind, exif=exif))
    if kind == 'PNG': wholes += [saved(picture.convert('LA'), kind), saved(picture.convert('P'), kind, transparency=0)]
    if kind == 'JPEG': wholes.append(saved(picture, kind, progressive=True))
    random, told = Random(f'damage to {kind}'), []
    assert not any(map(outcome, wholes))
    for i in range(200): told.append(outcome(damaged(wholes[i % len(wholes)], random)))
    assert sum(map(bool, told)) > 20, 'some damage is noticed'


# --- several digits, and none ---

def number(text: str, lines: int = 1) -> Image.Image:
    "A number on a page, each digit drawn by another pen."
    shapes = {str(digit): shape for digit, shape in reading.STROKES.values()}
    row = np.hstack([np.asarray(reading.drawn(shapes[c], f'{text} {i}'))[:, 40:200] for i, c in enumerate(text)])
    page = np.vstack([row] * lines)
    return Image.fromarray(np.pad(page, 60, constant_values=reading.PAGE))


@pytest.mark.parametrize('kind', ['plain', 'light falls to half', 'chalk', 'ruled'])
def test_a_number_is_found_digit_by_digit(kind):
    gen, read = DigitGenerator.load(), 0
    for text in ('40', '176', '90461'):
        found = read_pictures(reading.photograph(number(text), kind, text), certainty=gen.certainty)
        read += ''.join(str(gen.read(image)) for image in found) == text
    assert read >= 2


def test_two_lines_are_read_one_after_the_other():
    gen = DigitGenerator.load()
    found = read_pictures(reading.png(number('461', lines=2)), certainty=gen.certainty)
    assert [gen.read(image) for image in found] == [4, 6, 1, 4, 6, 1]


@pytest.mark.slow
def test_one_digit_stays_one():
    "Also if its strokes do not touch, or the paper is not clean."
    gen, n_found = DigitGenerator.load(), []
    for kind in ('plain', 'speck', 'faint pencil', 'squared'):
        for name, _, page in reading.strokes(1):
            photograph = reading.photograph(Image.open(io.BytesIO(page)), kind, name)
            n_found.append(len(read_pictures(photograph, certainty=gen.certainty)))
    assert n_found.count(1) >= len(n_found) - 1


@pytest.mark.slow
def test_doubt_is_told():
    "Of fresh shapes, what is said without doubt is right; dots and blots are no digits, and few scribbles are."
    gen = DigitGenerator.load()
    said = [(digit, gen.guesses(read_picture(page))) for _, digit, page in reading.strokes(5)]
    sure = [digit == guesses[0] for digit, guesses in said if len(guesses) == 1]
    assert len(sure) > .8 * len(said) and sum(sure) >= len(sure) - 1
    none = {}
    for name, page in doubt.no_digits(12): none.setdefault(name, []).append(gen.guesses(read_picture(page)))
    assert all(guesses == () for guesses in none['dot'])
    assert sum(guesses == () for guesses in none['blot']) >= 9
    assert sum(len(guesses) == 1 for guesses in none['scribble'] + none['cross'] + none['wave']) <= 6


def test_how_a_guess_follows_from_the_probabilities(monkeypatch):
    gen, image = DigitGenerator.load(), torch.zeros(28, 28)
    image[5:20, 12:15] = 1
    for chances, guesses in {(.95, .03): (4, ), (.7, .25): (4, 9), (.4, .35): ()}.items():
        likely = torch.zeros(10)
        likely[4], likely[9] = chances
        monkeypatch.setattr(DigitGenerator, 'probabilities', lambda self, image, likely=likely: likely)
        assert gen.guesses(image) == guesses
    image[10:18, 10:18] = 1
    likely[4] = .99
    assert gen.guesses(image) == ()


# --- formats ---

@pytest.mark.parametrize('kind', ['HEIC', 'TIFF', 'AVIF'])
def test_what_a_server_does_not_read(kind):
    page = number('4')
    data = b'\0\0\0\x18ftypheic' + bytes(99) if kind == 'HEIC' else saved(page, kind)
    assert ('HEIC' if kind == 'HEIC' else 'cannot be read') in outcome(data)
    if kind == 'HEIC':
        with pytest.raises(PictureError, match='pip install pillow-heif'): read_picture(data)
    else: assert read_picture(data)[4:24, 4:24].max() > .9


def test_transparent_ink_is_ink_whatever_its_colour():
    ink = 255 - np.asarray(number('4'))
    wanted = read_picture(saved(Image.fromarray(255 - ink), 'PNG'))
    for colour in 0, 255:
        page = np.full((*ink.shape, 4), colour, np.uint8)
        page[..., 3] = ink
        torch.testing.assert_close(read_picture(saved(Image.fromarray(page), 'PNG'), VISITORS), wanted, atol=.1, rtol=0)
    sheet = Image.fromarray(255 - ink).convert('RGBA')
    sheet.putpixel((0, 0), (0, 0, 0, 0))
    torch.testing.assert_close(read_picture(saved(sheet, 'PNG')), wanted, atol=.1, rtol=0)


# --- what people photograph ---

@pytest.mark.parametrize(
    'kind', [kind if kind == 'plain' else pytest.param(kind, marks=pytest.mark.slow) for kind in reading.KINDS]
)
def test_pens_paper_and_light(kind):
    "Of shapes drawn by code that took no part in training the reader, at most one of ten is misread."
    gen, right = DigitGenerator.load(), []
    for name, digit, page in reading.strokes(3):
        photograph = reading.photograph(Image.open(io.BytesIO(page)), kind, f'{name} {len(right)}')
        right.append(gen.read(read_picture(photograph, certainty=gen.certainty)) == digit)
    assert sum(right) >= .9 * len(right)


def test_the_reader_chooses_and_the_first_has_a_lead():
    page = reading.photograph(reading.drawn(reading.round_six, 'six'), 'edge of a shadow', 'six')
    seen, sure = [], torch.zeros(3)

    def certainty(images):
        seen.append(images)
        return sure[:len(images)].clone()

    for second, chosen in ((.85, 0), (.95, 1)):
        sure[:2] = torch.tensor([.5, second])
        found = read_picture(page, certainty=certainty)
        assert len(seen[-1]) >= 2 and torch.equal(found, seen[-1][chosen])
    assert torch.equal(read_picture(page), seen[-1][0]), 'without a reader, the most plausible'
