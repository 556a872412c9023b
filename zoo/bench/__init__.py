"""What a user would pick instead, side by side with zoo: the same step of the same net, in one run.

Every contestant computes in a process of its own, on the same cores; they take turns step by step, so that whatever
else the machine does meets all of them.
"""

from zoo.bench.job import Job, Mode
from zoo.bench.machine import describe_machine, format_machine
from zoo.bench.peers import PEERS, choose_peers, make_jobs
from zoo.bench.turns import Result, race
