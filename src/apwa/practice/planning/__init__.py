"""How the practice model plans: read the briefing, see what is asked, write steps, mend them.

Everything follows from the conversation alone, so the server keeps nothing between requests.
"""
