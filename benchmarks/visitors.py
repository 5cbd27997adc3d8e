"""The app as a process of its own, and visitors who speak Streamlit's own protocol, as a browser does.

A visitor is a websocket with its Origin and XSRF token, a rerun that carries the state of every widget, a button or a
stroke of the pen as a trigger, then the pictures over HTTP. Linux only: memory is read from /proc.
"""
import asyncio
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image, ImageDraw
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

from ports import free_port

ROOT = Path(__file__).resolve().parent.parent
N = 5                    # pictures of one click
BUTTON = 'Generate 5 Images'
FIVE = re.compile(r'variation (\d) of 5')
TIMEOUT = 180            # seconds that anything may take, on a busy computer too
INPUTS = 'selectbox', 'number_input', 'text_input', 'button'


def image_environment() -> dict[str, str]:
    "The variables that the Dockerfile sets: memory is measured as it will be."
    (line,) = re.findall(r'^ENV (.*)', (ROOT / 'Dockerfile').read_text(), re.M)
    return dict(pair.split('=') for pair in line.split())


class Server:
    "The app as a process of its own on loopback; `with` waits until it is healthy, and ends it."

    def __init__(
        self, python: str = sys.executable, command: list[str] | None = None, cwd: Path = ROOT, env: dict | None = None,
        port: int = 0,
    ):
        self.port = port or free_port()
        self.command = command or [python, '-m', 'streamlit', 'run', 'app.py', '--server.headless=true',
                                   '--server.address=127.0.0.1', f'--server.port={self.port}']
        self.cwd, self.env, self.origin = cwd, env or os.environ | image_environment(), f'http://127.0.0.1:{self.port}'

    def __enter__(self):
        self.log = tempfile.TemporaryFile('w+')
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            self.command, cwd=self.cwd, env=self.env, stdout=self.log, stderr=subprocess.STDOUT
        )
        while time.perf_counter() - self.started < TIMEOUT:
            try:
                if urlopen(f'{self.origin}/_stcore/health', timeout=1).read() == b'ok':
                    self.seconds = time.perf_counter() - self.started
                    return self
            except OSError: time.sleep(.02)
            if self.process.poll() is not None: break
        self.stop()
        raise RuntimeError(f'the server did not become healthy:\n{self.output()}')

    def __exit__(self, *_): self.stop()

    def stop(self) -> int:
        "Ask it to end, as an operator's container does. Its exit status."
        self.process.terminate()
        try: return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def memory(self, of: str = 'VmRSS') -> float:
        "Resident memory in MB (10⁶ bytes), shared libraries included; `of='VmHWM'` is its peak since the start."
        return (
            int(re.search(rf'{of}:\s+(\d+) kB', Path(f'/proc/{self.process.pid}/status').read_text())[1]) * 1024 / 1e6
        )

    def bytes_read(self) -> int:
        "Bytes that it has read so far, from files and from connections."
        return int(re.search(r'rchar: (\d+)', Path(f'/proc/{self.process.pid}/io').read_text())[1])

    def cpu(self) -> float:
        "Processor time so far in seconds: what the server would take if nothing else ran."
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Visitor:
    "One session: what a browser tab sends, and what it shows."
    def __init__(self, server: Server, digit: int):
        self.server, self.query, self.errors = server, f'digit={digit}', []
        self.widgets, self.values, self.tabs, self.pad, self.sent = {}, {}, '', '', 0
        self.connections = asyncio.Semaphore(6)                      # a browser opens no more to one server

    async def get(self, path: str) -> tuple[str, bytes]:
        "Head and body."
        await self.connections.acquire()
        writer = None
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', self.server.port)
            host = f'127.0.0.1:{self.server.port}'
            writer.write(
                f'GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {self.server.origin}\r\n\r\n'.encode()
            )
            head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
            if ' 200 ' not in head.splitlines()[0]: raise RuntimeError(f'{path}: {head.splitlines()[0]}')
            return head, await reader.readexactly(int(re.search(r'(?i)content-length: (\d+)', head)[1]))
        finally:
            self.connections.release()
            if writer: writer.close()

    async def connect(self):
        head, _ = await self.get('/_stcore/health')
        self.cookie, self.token = re.search(r'(?i)set-cookie: (_streamlit_xsrf=([^;\s]+))', head).groups()
        address, origin = f'ws://127.0.0.1:{self.server.port}/_stcore/stream', self.server.origin
        self.socket = await connect(address, origin=origin, max_size=None, proxy=None, ping_interval=None,
                                    subprotocols=['streamlit', self.token], additional_headers={'Cookie': self.cookie})

    async def open(self):
        "Come in as a new tab does, and wait for the first pictures."
        await self.connect()
        return await self.run()

    async def close(self): await self.socket.close()

    def note(self, kind: str, widget):
        "A widget has arrived: as the page does, keep its value unless it is new or the script has set another."
        self.widgets[kind, widget.label] = widget
        if kind == 'button' or (widget.id in self.values and not widget.set_value): return
        if kind == 'selectbox':
            chosen = widget.raw_value if widget.set_value else widget.options[widget.default]
            self.values[widget.id] = dict(string_value=chosen)
            return
        value = widget.value if widget.set_value else widget.default
        if kind == 'text_input': self.values[widget.id] = dict(string_value=value)
        elif widget.data_type == widget.INT: self.values[widget.id] = dict(int_value=int(value))
        else: self.values[widget.id] = dict(double_value=value)

    def shown(self, kind: str, label: str) -> int:
        (value,) = self.values[self.widgets[kind, label].id].values()
        return int(value)

    def message(self, **triggers) -> bytes:
        "A rerun: the address, the state of every widget, and what was just done."
        message = BackMsg()
        message.rerun_script.query_string = self.query
        for name, value in {**self.values, **triggers}.items():
            message.rerun_script.widget_states.widgets.add(id=name, **value)
        return message.SerializeToString()

    async def run(self, **triggers) -> tuple[float, dict[str, bytes]]:
        """Run the script until it has finished.

        Returns the seconds until all pictures of the page were here, and the pictures' bytes by their alternative text.
        """
        start, addresses = time.perf_counter(), {}
        await self.socket.send(self.message(**triggers))
        while True:
            reply = ForwardMsg.FromString(await self.socket.recv())
            kind = reply.WhichOneof('type')
            if kind == 'new_session': self.session_id = reply.new_session.initialize.session_id
            elif kind == 'page_info_changed': self.query = reply.page_info_changed.query_string
            elif kind == 'session_event' and reply.session_event.WhichOneof('type') == 'script_compilation_exception':
                raise RuntimeError('the script does not compile')
            elif kind == 'delta' and reply.delta.WhichOneof('type') == 'add_block':
                self.tabs = reply.delta.add_block.tab_container.id or self.tabs
            elif kind == 'delta' and reply.delta.WhichOneof('type') == 'new_element':
                self.look_at(reply.delta.new_element, addresses)
            elif kind == 'script_finished' and reply.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY: break
            elif kind == 'script_finished' and reply.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                raise RuntimeError('the script does not compile')
        bodies = await asyncio.gather(*map(self.get, addresses.values()))    # a browser, too, fetches them side by side
        return time.perf_counter() - start, {alt: body for alt, (_, body) in zip(addresses, bodies)}

    def look_at(self, element, addresses: dict[str, str]):
        name = element.WhichOneof('type')
        if name == 'exception': self.errors.append(str(element))
        elif name in INPUTS: self.note(name, getattr(element, name))
        elif name == 'bidi_component' and 'pad' in element.bidi_component.component_name:
            self.pad = element.bidi_component.id
        elif name == 'imgs':
            addresses.update({img.alt: img.url for img in element.imgs.imgs if img.url.startswith('/media/')})

    async def show_tab(self, name: str, **triggers):
        "Choose a tab, as a click on it does."
        self.values[self.tabs] = dict(string_value=name)
        return await self.run(**triggers)

    async def click(self) -> tuple[float, dict[str, bytes]]:
        "Five new pictures."
        return await self.show_tab('Generate', **{self.widgets['button', BUTTON].id: dict(trigger_value=True)})

    def five(self, pictures: dict[str, bytes]) -> tuple[int, int, list[bytes]]:
        "Digit, seed and the five pictures that a click brought."
        bodies = {found[1]: body for alt, body in pictures.items() if (found := FIVE.search(alt))}
        if len(bodies) != N: raise RuntimeError(f'{len(bodies)} pictures instead of {N}')
        return self.shown('selectbox', 'Digit'), self.shown('number_input', 'Seed'), [bodies[i] for i in sorted(bodies)]

    async def send_picture(self, picture: bytes, kind: str):
        "Draw on the pad, or choose a picture: what the pad then tells the page."
        if self.values.get(self.tabs) != dict(string_value='Handwriting'): await self.show_tab('Handwriting')
        return await self.show_tab('Handwriting', **self.sends(picture, kind))

    def sends(self, picture: bytes, kind: str) -> dict:
        self.sent += 1
        mime = 'image/png' if kind == 'drawing' else 'image/jpeg'
        url = f'data:{mime};base64,{base64.b64encode(picture).decode()}'
        value = dict(
            kind=kind, serial=self.sent, path='M84 60L196 60L126 230' if kind == 'drawing' else '', picture=url
        )
        return {
            f'$$STREAMLIT_INTERNAL_KEY_{self.pad}__events': dict(
                json_trigger_value=json.dumps([dict(event='sent', value=value)])
            )
        }


def drawing() -> bytes:
    "A seven as the pad draws it: PNG, 280 by 280 pixels."
    image = Image.new('RGB', (280, 280))
    ImageDraw.Draw(image).line([(84, 60), (196, 60), (126, 230)], 'white', 22, joint='curve')
    image.save(png := io.BytesIO(), 'PNG')
    return png.getvalue()


def photograph() -> bytes:
    "A seven on noisy paper: JPEG, 1024 by 1024 pixels, as large as the pad lets it be."
    grey = np.random.default_rng(0).normal(200, 12, (1024, 1024)).clip(0, 255).astype('uint8')
    image = Image.fromarray(grey).convert('RGB')
    ImageDraw.Draw(image).line([(350, 250), (700, 250), (480, 800)], (30, 30, 40), 60, joint='curve')
    image.save(jpeg := io.BytesIO(), 'JPEG', quality=90)
    return jpeg.getvalue()
