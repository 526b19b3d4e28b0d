"""Who may use the pages and the API: users and their sessions."""
