"""How fast is it, beside what its broker and its database can do at all? One file per question; see README.md here."""
