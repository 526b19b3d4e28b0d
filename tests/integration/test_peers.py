"""The peers of the other tests start, answer, stop, and listen on loopback only."""

import psycopg
import pytest
import redis
import sqlalchemy
from peers.postgresql import PostgreSQLServer
from peers.redis_server import RedisServer


def test_redis_forgets_on_a_kill_and_returns_on_the_same_port(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    redis_server.kill()
    assert not redis_server.running

    redis_server.start()

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0
        assert client.ping()


@pytest.mark.parametrize("attempt", [1, 2])
def test_redis_is_running_and_empty_whatever_the_last_test_did(
    redis_server: RedisServer, attempt: int
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0
        client.set("attempt", attempt)
    redis_server.stop()


@pytest.mark.postgresql
@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_finds_an_empty_database(postgresql_url: str, attempt: int) -> None:
    engine = sqlalchemy.create_engine(postgresql_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE TABLE attempt_{attempt} (id INTEGER)"))
    engine.dispose()


@pytest.mark.postgresql
def test_a_killed_postgresql_keeps_what_was_committed(
    postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    engine = sqlalchemy.create_engine(postgresql_url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE kept (id INTEGER)"))
    postgresql_server.kill()
    with pytest.raises(sqlalchemy.exc.OperationalError) as failure, engine.connect():
        pass
    assert isinstance(failure.value.orig, psycopg.OperationalError)

    postgresql_server.start()

    assert sqlalchemy.inspect(engine).get_table_names() == ["kept"]


def test_a_ledger_is_empty_on_both_kinds(ledger_url: str) -> None:
    engine = sqlalchemy.create_engine(ledger_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()
