"""The commands of ``dataflow-assets``, each in a module of its own.

What belongs here: arguments, what is printed, and exit codes. What does not: doing the work; the
floors below do it.

A command's module gives ``add(commands)``, which adds its parser to argparse's and sets ``run``: a
function that takes the parsed options and returns the exit code. What is heavy is imported when
the command runs, so that ``--help`` answers at once.
"""
