"""The LiteLLM proxy as its pages for production have it: `run_litellm.py PORT STUB_PORT KEY FOLDER`.

https://docs.litellm.ai/docs/proxy/prod (one worker a core, LITELLM_LOG, LITELLM_MODE, request_timeout, set_verbose,
json_logs, a master key) and https://docs.litellm.ai/docs/benchmarks (no retries, no callbacks). It runs without a
database: it checks the master key alone, and writes no spend.
"""

import json
import os
import sys
from pathlib import Path

port, stub_port, key, folder = sys.argv[1:]
config = {
    "model_list": [
        {
            "model_name": "stub/stub-1",
            "litellm_params": {
                "model": "openai/stub-1",
                "api_base": f"http://127.0.0.1:{stub_port}/v1",
                "api_key": "none",
            },
        }
    ],
    "general_settings": {"master_key": key},
    "litellm_settings": {
        "request_timeout": 600,
        "set_verbose": False,
        "json_logs": True,
        "num_retries": 0,
        "callbacks": [],
        "telemetry": False,
    },
}
file = Path(folder, "litellm.yaml")
file.write_text(json.dumps(config), "utf-8")  # YAML holds JSON
os.environ |= {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
}
program = str(Path(sys.executable).with_name("litellm"))
arguments = ["--config", str(file), "--host", "127.0.0.1", "--port", port, "--num_workers", "1", "--telemetry", "False"]
os.execv(program, [program, *arguments])
