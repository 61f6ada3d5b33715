"""What a judge's door is measured beside: `POST /run_code` in SandboxFusion's form by a bare `subprocess`, with no isolation.

    python bench/subprocess_server.py PORT

Each program is written into a folder of its own and run by the interpreter, at most two at a time; a run that takes longer than
its `run_timeout` is killed. That is all.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

AT_ONCE = asyncio.Semaphore(2)


async def run_code(http: Request) -> JSONResponse:
    body = await http.json()
    async with AT_ONCE:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "main.py").write_text(body["code"])
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "main.py",
                cwd=folder,
                env={"PATH": os.environ["PATH"]},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(body.get("run_timeout", 10)):
                    stdout, stderr = await process.communicate(body.get("stdin", "").encode())
                status = "Finished"
            except TimeoutError:
                process.kill()
                await process.wait()
                stdout, stderr, status = b"", b"", "TimeLimitExceeded"
    ran = {
        "status": status,
        "execution_time": time.monotonic() - began,
        "return_code": process.returncode,
        "stdout": stdout.decode(),
        "stderr": stderr.decode(),
    }
    return JSONResponse({"status": "Success" if process.returncode == 0 else "Failed", "run_result": ran})


if __name__ == "__main__":
    app = Starlette(routes=[Route("/run_code", run_code, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
