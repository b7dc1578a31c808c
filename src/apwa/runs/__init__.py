"""Runs: from a request and settings to an answer on disk; started, resumed, read, exported.

Ties the layers below together and holds no rule of its own about models, rows or pace. Front
ends use what is exported here, and never the journal by SQL of their own.
"""

from apwa.runs.again import Again
from apwa.runs.api import arun, rows, run
from apwa.runs.closing import HIDDEN, skipped_rows
from apwa.runs.control_files import send_command
from apwa.runs.course import Ask, Course
from apwa.runs.directory import RunDirectory, create_run, find_run, home_of, list_runs
from apwa.runs.driver import Driver
from apwa.runs.dry import DryStep, dry_run
from apwa.runs.ending import Ended, Ending
from apwa.runs.endpoints import NO_MODEL, words_of
from apwa.runs.export import check_target
from apwa.runs.files import check_place, write_text
from apwa.runs.forecast import Forecast
from apwa.runs.handle import Answer, Run
from apwa.runs.reading import RowView, RunReader, StepView
from apwa.runs.reporting import forecast_words, usage_words
from apwa.runs.served import ModelProcesses
from apwa.runs.settings import RunRequest, RunSettings, TableSource, check_settings
from apwa.runs.starting import begin, take_up
from apwa.runs.stream import Listener
from apwa.runs.streaming import Rows
from apwa.runs.variables import models_of, send_variables, variables_of

__all__ = [
    "HIDDEN",
    "NO_MODEL",
    "Again",
    "Answer",
    "Ask",
    "Course",
    "Driver",
    "DryStep",
    "Ended",
    "Ending",
    "Forecast",
    "Listener",
    "ModelProcesses",
    "RowView",
    "Rows",
    "Run",
    "RunDirectory",
    "RunReader",
    "RunRequest",
    "RunSettings",
    "StepView",
    "TableSource",
    "arun",
    "begin",
    "check_place",
    "check_settings",
    "check_target",
    "create_run",
    "dry_run",
    "find_run",
    "forecast_words",
    "home_of",
    "list_runs",
    "models_of",
    "rows",
    "run",
    "send_command",
    "send_variables",
    "skipped_rows",
    "take_up",
    "usage_words",
    "variables_of",
    "words_of",
    "write_text",
]
