"""What runs on the login node: prepare, submit, resume, observe. `exa_cli.job` is the other end."""
