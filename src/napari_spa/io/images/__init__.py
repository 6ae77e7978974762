"""Images of every readable format, opened plane by plane, and labels written."""
