"""Tools that kill, interrupt and damage runs, and feed bad input; see docs/reliability.md.

python -m reliability.TOOL --help

kills                               signals at random moments of a run
faults                              everything else that goes wrong with a run
hostile_files, fuzz, guided_fuzz    bad input
hostile_requests                    requests to the HTTP server
mutants                             small faults in the code, which the tests should notice
"""
