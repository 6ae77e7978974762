"""What a profile learns (`update`), how it is described (`summary`) and compared (`comparison`)."""
