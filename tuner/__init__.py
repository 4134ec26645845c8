"""Detectors are searched for. The only floor that talks to Ray, Optuna and MLflow."""

import os

# Read when Ray and MLflow are imported or started, so they stand before either. What the user has set stays.
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: Tune draws no table of its own
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study and MLflow keep the results; no CSV or TensorBoard copies
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the search ends its trials itself, see tuner/halt.py
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The writer itself tries again, for as long as it takes, and can be asked to end.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}.items():
    os.environ.setdefault(_name, _value)
