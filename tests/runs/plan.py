"""The plan that runs of these tests work."""

PLAN = """\
apwa: 1
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str}
answer: redact
"""
