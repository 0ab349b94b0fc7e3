"""The local city: servers, certificates, launcher, simulator and demos for one machine."""

import os

# Servers are started by fork and exec from a process that speaks gRPC. Its fork handlers would wake the poller in the
# child, whose file descriptors are closed by then, and the server would never be executed. Read when gRPC is loaded.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
