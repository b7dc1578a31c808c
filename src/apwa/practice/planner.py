from apwa.practice.wire import Answer, ChatBody


def plan(body: ChatBody) -> Answer:
    return Answer("")
