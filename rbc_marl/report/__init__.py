"""Reports: a page of figures and tables, and files of numbers, about runs, policies, sweeps and best responses."""

from rbc_marl.report.write import Written, write_report

__all__ = ["Written", "write_report"]
