"""`remoteshell`: from the batch system's job starter into the guest, as the job's owner.

Standard library only, and few modules of it: every job of a node passes through `starter`, and
those without a guest shall not feel it. Modules that only jobs with a guest need are imported late.
Plain classes stand where the rest of the project has dataclasses, whose import costs more
milliseconds than the whole bare path.
"""
