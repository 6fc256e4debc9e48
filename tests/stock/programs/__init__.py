"""Client programs that the tests run in processes of their own, so that each can be killed or timed out."""
