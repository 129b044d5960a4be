"""What must run on one worker does: clusters are shared, and processes on the machine counted."""


def test_the_group_of_a_test_is_known_to_what_distributes_them(request):
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@tests/test_groups.py")
