"""Made-up archives of VOC and a server on this machine that hands them out."""

import hashlib
import io
import re
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
from fetching import Archive  # noqa: E402

NAMES = {"trainval.tar": "VOC2007", "test.tar": "VOC2007", "trainval12.tar": "VOC2012"}


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def entry(name: str, packed: bytes, folder: str = "VOC2007") -> Archive:
    return Archive(name, len(packed), hashlib.md5(packed).hexdigest(), folder)


class Server:
    """The first word of an address says how the server behaves, the last which archive it is about."""

    def __init__(self, packed: dict[str, bytes]):
        self.packed, self.asked = packed, []  # (behaviour, archive, first byte asked for)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def mirror(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}/{{year}}/{{name}}"

    def mirrors(self, *behaviours: str) -> list[str]:
        return [self.mirror(behaviour) for behaviour in behaviours]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        _, behaviour, year, name = request.path.split("/")
        whole, wanted = self.packed[name], request.headers.get("Range")
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        self.asked.append((behaviour, name, start))
        assert year == NAMES.get(name, "VOC2007").lower()
        if behaviour in ("404", "500"):
            request.send_error(int(behaviour))
            return
        if behaviour == "wrong":
            whole = whole[:-1] + bytes([whole[-1] ^ 1])
        ranges = bool(wanted) and behaviour not in ("no-ranges", "no-ranges-drops")
        body = whole[start:] if ranges else whole
        length = {"long": len(body) + 1, "short": len(body) - 1}.get(behaviour, len(body))
        request.send_response(206 if ranges else 200)
        if behaviour not in ("no-length", "no-length-long"):
            request.send_header("Content-Length", str(length))
        if ranges:
            first, total = start + (behaviour == "shifted"), len(whole) + (behaviour == "another-total")
            request.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{total}")
        request.end_headers()
        if behaviour.endswith("drops") or behaviour == "stalls":
            body = body[:100_000]
        if behaviour == "no-length-long":
            body += b"more"
        step = 4096 if behaviour == "slow" else len(body)
        for i in range(0, len(body), step):
            if behaviour == "slow":
                time.sleep(0.01)
            try:
                request.wfile.write(body[i : i + step])
                request.wfile.flush()
            except OSError:
                return  # the other side was killed
        if behaviour == "stalls":
            time.sleep(1)
