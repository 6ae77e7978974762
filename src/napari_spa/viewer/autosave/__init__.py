"""Work saved as it is done (`autosave`), offered again (`recovery`), exported (`export`)."""
