-- migrate:up
-- No function looks a name up where its caller says: the search path of each is pinned.
set local role neurant_owner;

-- The company's key is written out: a call of private.word_key, pinned as well, would be made for
-- each message (5 µs of 100), and cannot be inlined any more.
create or replace function private.message_words(p_company uuid, p_content text) returns tsvector
language sql immutable parallel safe set search_path = '' as $$
  select array_to_tsvector(array(
    select k.key || left(w.word, 100)
    from (select encode(substring(uuid_send(p_company) from 14), 'base64')) as k (key)
    cross join unnest(
      tsvector_to_array(to_tsvector('private.spanish'::regconfig, p_content))
      || tsvector_to_array(to_tsvector('private.words'::regconfig, p_content))) as w (word)))
$$;
comment on function private.message_words(uuid, text) is
  'What a message is found by: Spanish stems and whole words without accents, each after the company''s key (private.word_key).';

create or replace function private.word_key(p_company uuid) returns text
language sql immutable parallel safe set search_path = '' as $$
  select encode(substring(uuid_send(p_company) from 14), 'base64')
$$;

-- The job library's functions name their tables without a schema. A newer version of the library
-- that replaces one loses this: tests/database/test_public_linter.py notices.
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p where p.pronamespace = 'jobs'::regnamespace
  loop
    execute format('alter function %s set search_path = pg_catalog, jobs, pg_temp', v_function);
  end loop;
end $$;

reset role;
-- migrate:down
