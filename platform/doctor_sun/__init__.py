"""Doctor Sun on Ray: the library behind the jobs in `jobs/`, the endpoint in `serve/`.

Importing it sets what Ray reads from the environment while Ray is imported, which must come first;
a variable that is set already stays.
"""

import os
import sys

RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # else each report waits for a two-second poll
    # After a worker's death the others are asked to leave their process group, which is broken.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # a worker's line would appear twice
    # Bars on a terminal; in a log file they would be hundreds of lines.
    "RAY_DATA_DISABLE_PROGRESS_BARS": "0" if sys.stdout.isatty() else "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Idle workers that a cluster of our own keeps: some have imported what the next step needs,
    # but each takes a hundredth of a core.
    "RAY_num_workers_soft_limit": "6",
    "RAY_DATA_LOG_LEVEL": "WARNING",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
