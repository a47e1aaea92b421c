-- Search in messages and conversations.

create table public.message_changes (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  message_created_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.message_changes is
  'The log of changed messages: the transaction that changes a message appends to it, the worker drains it. Data derived from messages lags behind by exactly this log. It has no foreign keys, because its rows may outlive the messages that they name.';

alter table public.message_changes enable row level security, force row level security;
create policy router_select on public.message_changes for select to neurant_router using (true);
create policy router_insert on public.message_changes for insert to neurant_router with check (true);
create policy router_delete on public.message_changes for delete to neurant_router using (true);
grant select, insert, delete on public.message_changes to neurant_router;

create table public.message_search (
  company_id uuid not null,
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  search tsvector not null,
  primary key (company_id, message_id),
  foreign key (company_id, message_id) references public.messages (company_id, id) on delete cascade
);
comment on table public.message_search is
  'The words of a message, drained from message_changes. It is a table of its own so that storing a message does not wait for its words. Its rows are deleted together with the message.';
create index message_search_words_idx on public.message_search using gin (search);

alter table public.message_search enable row level security, force row level security;
create policy router_select on public.message_search for select to neurant_router using (true);
create policy router_insert on public.message_search for insert to neurant_router with check (true);
create policy router_update on public.message_search for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_search for delete to neurant_router using (true);
grant select, insert, delete on public.message_search to neurant_router;
grant update (search) on public.message_search to neurant_router;

create table public.conversation_search (
  company_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  person text not null,
  primary key (company_id, conversation_id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id) on delete cascade
);
comment on table public.conversation_search is
  'The customer of a conversation, drained from message_changes: name, number or channel name, folded.';
create index conversation_search_person_idx on public.conversation_search
  using gin (company_id extensions.uuid_ops, person extensions.gin_trgm_ops);

alter table public.conversation_search enable row level security, force row level security;
create policy router_select on public.conversation_search for select to neurant_router using (true);
create policy router_insert on public.conversation_search for insert to neurant_router with check (true);
create policy router_update on public.conversation_search for update to neurant_router using (true) with check (true);
create policy router_delete on public.conversation_search for delete to neurant_router using (true);
grant select, insert, delete on public.conversation_search to neurant_router;
grant update (person) on public.conversation_search to neurant_router;

create function private.note_message_changes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  select c.company_id, c.id, c.conversation_id, c.chatbot_id, c.created_at from changed c;
  return null;
end $$;
comment on function private.note_message_changes() is
  'Appends new and deleted messages to the log. Security definer, called by a trigger, because a writer of messages may not see the log.';

create trigger note_inserted_messages after insert on public.messages
  referencing new table as changed
  for each statement execute function private.note_message_changes();

create trigger note_deleted_messages after delete on public.messages
  referencing old table as changed
  for each statement execute function private.note_message_changes();

create function private.note_message_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  values (old.company_id, old.id, old.conversation_id, old.chatbot_id, old.created_at),
    (new.company_id, new.id, new.conversation_id, new.chatbot_id, new.created_at);
  return null;
end $$;
comment on function private.note_message_edit() is
  'Appends the old and the new place of an edited message to the log. Security definer, called by a trigger, because a writer of messages may not see the log.';

-- Changes of the delivery status are frequent and do not affect search and statistics.
create trigger note_edited_messages
  after update of content, sender_type, created_at, tokens_used, processing_time_ms on public.messages
  for each row when (old.content is distinct from new.content
    or old.sender_type is distinct from new.sender_type
    or old.created_at is distinct from new.created_at
    or old.tokens_used is distinct from new.tokens_used
    or old.processing_time_ms is distinct from new.processing_time_ms)
  execute function private.note_message_edit();

create function private.fold(p_text text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select lower(extensions.unaccent('extensions.unaccent'::regdictionary, p_text))
$$;
comment on function private.fold(text) is 'Returns a text in lower case and without accents.';
grant execute on function private.fold(text) to authenticated, neurant_router;

-- These two functions run for every message, where pinning a search_path would cost more than their
-- work. They name every object with its schema, and only definers, whose own path is pinned, may
-- call them.
create function private.word_key(p_company uuid) returns text
language sql immutable parallel safe set search_path = '' as $$
  select encode(substring(uuid_send(p_company) from 14), 'base64')
$$;
comment on function private.word_key(uuid) is
  'Returns four letters that start each of a company''s words in the index, so that a search reads its own company''s entries. Two companies may share them; therefore rows are compared by company_id as well.';
grant execute on function private.word_key(uuid) to neurant_router;

-- The company's key is computed inline: with a pinned path, a call of private.word_key could not be
-- inlined and would be made for each message (5 µs of 100).
create function private.message_words(p_company uuid, p_content text) returns tsvector
language sql immutable parallel safe set search_path = '' as $$
  select array_to_tsvector(array(
    select k.key || left(w.word, 100)
    from (select encode(substring(uuid_send(p_company) from 14), 'base64')) as k (key)
    cross join unnest(
      tsvector_to_array(to_tsvector('private.spanish'::regconfig, p_content))
      || tsvector_to_array(to_tsvector('private.words'::regconfig, p_content))) as w (word)))
$$;
comment on function private.message_words(uuid, text) is
  'Returns the words that a message is found by: Spanish stems and whole words without accents, each after the company''s key (private.word_key).';
grant execute on function private.message_words(uuid, text) to neurant_router;

create function private.quoted_word(p_word text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select '''' || replace(replace(p_word, '\', '\\'), '''', '''''') || ''''
$$;
comment on function private.quoted_word(text) is
  'Returns a word quoted for the text form of a tsquery.';
grant execute on function private.quoted_word(text) to neurant_router;

create function private.all_stems(p_words text, p_key text) returns tsquery
language sql immutable parallel safe set search_path = '' as $$
  select string_agg(private.quoted_word(p_key || left(w, 100)), ' & ')::tsquery
  from unnest(tsvector_to_array(to_tsvector('private.spanish'::regconfig, p_words))) w
$$;
comment on function private.all_stems(text, text) is
  'Returns a query for all of the words, by their stems. Null if there are only stop words.';
grant execute on function private.all_stems(text, text) to neurant_router;

create function private.typed_query(p_words text, p_key text) returns tsquery
language plpgsql immutable parallel safe set search_path = '' as $$
declare
  v_words text := left(p_words, 200);
  v_begun text;
  v_last tsquery;
  v_query tsquery;
begin
  select t.token into v_begun
  from ts_parse('default', v_words) with ordinality as t (kind, token, place)
  order by t.place desc limit 1;
  if v_begun !~ '\w' or right(v_words, char_length(v_begun)) <> v_begun then
    v_begun := '';  -- a blank or a sign: the words are finished
  end if;
  v_query := private.all_stems(left(v_words, char_length(v_words) - char_length(v_begun)), p_key);
  if v_begun <> '' then
    v_last := (private.quoted_word(p_key || left(private.fold(v_begun), 100)) || ':*')::tsquery;
    v_last := coalesce(v_last || private.all_stems(v_begun, p_key), v_last);
  end if;
  return coalesce(v_query && v_last, v_query, v_last);
end $$;
comment on function private.typed_query(text, text) is
  'Returns a query for a text that is still being typed: all words by their stems, the last one also as the beginning of a word. Null if it contains no word. p_key: private.word_key() or nothing.';
grant execute on function private.typed_query(text, text) to neurant_router;

create function private.person_words(p_name text, p_end_user text, p_channel public.conversation_channel_enum)
returns text
language sql immutable parallel safe set search_path = '' as $$
  select private.fold(coalesce(p_name, '') || ' '
    -- Of a web visitor's id, staff see the last four letters.
    || case p_channel when 'web' then right(p_end_user, 4) else p_end_user end)
$$;
comment on function private.person_words(text, text, public.conversation_channel_enum) is
  'Returns the words that a customer is found by: the name, and the number or name on the channel.';
grant execute on function private.person_words(text, text, public.conversation_channel_enum) to
  authenticated, neurant_router;

create function private.like_patterns(p_words text) returns text[]
language sql immutable parallel safe set search_path = '' as $$
  select array_agg('%' || replace(replace(replace(w, '\', '\\'), '%', '\%'), '_', '\_') || '%'
    order by char_length(w) desc)
  from regexp_split_to_table(private.fold(left(p_words, 200)), '\s+') w
  where w <> ''
$$;
comment on function private.like_patterns(text) is
  'Returns a LIKE pattern for each word, the longest first, since that one narrows an index down most. Null if there is no word.';
grant execute on function private.like_patterns(text) to authenticated, neurant_router;

create function private.drain_message_changes(p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_taken integer;
begin
  -- One at a time: of two, the one that read a message before its edit could write last.
  if not pg_try_advisory_xact_lock(hashtextextended('private.drain_message_changes', 0)) then
    return 0;
  end if;
  with batch as (
    delete from public.message_changes x
    where x.ctid = any (array(select y.ctid from public.message_changes y limit p_limit))
    returning x.company_id, x.message_id, x.conversation_id
  ),
  current as materialized (
    select m.*
    from (select distinct b.company_id, b.message_id from batch b) x
    -- Row by row through the key: a batch is small, and the tables are not.
    cross join lateral (
      select m.company_id, m.id, m.conversation_id, m.chatbot_id, m.sender_type, m.content
      from public.messages m
      where m.company_id = x.company_id and m.id = x.message_id limit 1) m
  ),
  said as (
    insert into public.message_search as s
      (company_id, message_id, conversation_id, chatbot_id, search)
    select m.company_id, m.id, m.conversation_id, m.chatbot_id,
      private.message_words(m.company_id, m.content)
    from current m
    where m.sender_type <> 'system'
    on conflict on constraint message_search_pkey do update set search = excluded.search
    where s.search <> excluded.search
  ),
  unsaid as (
    delete from public.message_search s
    using current m
    where m.sender_type = 'system' and s.company_id = m.company_id and s.message_id = m.id
  ),
  people as (
    insert into public.conversation_search as s (company_id, conversation_id, chatbot_id, person)
    select c.company_id, c.id, c.chatbot_id,
      private.person_words(c.end_user_name, c.end_user_id, c.channel)
    from (select distinct b.company_id, b.conversation_id from batch b) x
    cross join lateral (
      select c.company_id, c.id, c.chatbot_id, c.end_user_name, c.end_user_id, c.channel
      from public.conversations c
      where c.company_id = x.company_id and c.id = x.conversation_id limit 1) c
    on conflict on constraint conversation_search_pkey do update set person = excluded.person
    where s.person <> excluded.person
  )
  select count(*) into v_taken from batch;
  return v_taken;
end $$;
comment on function private.drain_message_changes(integer) is
  'Updates the data derived from messages for at most p_limit entries of the log. Returns the number of entries removed (0 as well while another call drains: an advisory lock admits one, because of two the one that read a message before its edit could write last). Security definer, called by the worker process, because the log holds all companies, and no role may write the derived tables directly.';
grant execute on function private.drain_message_changes(integer) to neurant_jobs;

-- Prepared statements, and without the log's half when the log has nothing of the company: planning
-- the query for each search took longer than most searches.
create function private.search_conversations(p_words text)
returns table (conversation_id uuid)
language plpgsql stable security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.read');
  v_all boolean := private.sees_all_chatbots();
  v_bots uuid[];
  v_mine uuid[];
  v_query tsquery;
  v_person text[];
begin
  if v_company is null then
    return;
  end if;
  if not v_all then
    v_bots := private.my_chatbot_ids();
    v_mine := private.my_conversation_ids();
  end if;
  v_query := private.typed_query(p_words, private.word_key(v_company));
  v_person := private.like_patterns(p_words);
  if not exists (select from public.message_changes x where x.company_id = v_company) then
    return query
    select s.conversation_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine))
    union
    select s.conversation_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine));
    return;
  end if;
  return query
  with pending as materialized (
    select distinct x.message_id, x.conversation_id from public.message_changes x
    where x.company_id = v_company
  ),
  found as (
    select s.conversation_id, s.chatbot_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and not exists (select from pending p where p.message_id = s.message_id)
    union
    select m.conversation_id, m.chatbot_id
    from (select distinct p.message_id from pending p) p
    join public.messages m on m.company_id = v_company and m.id = p.message_id
    where m.sender_type <> 'system' and private.message_words(v_company, m.content) @@ v_query
    union
    select s.conversation_id, s.chatbot_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and not exists (select from pending p where p.conversation_id = s.conversation_id)
    union
    select c.id, c.chatbot_id
    from (select distinct p.conversation_id from pending p) p
    join public.conversations c on c.company_id = v_company and c.id = p.conversation_id
    where private.person_words(c.end_user_name, c.end_user_id, c.channel) like all (v_person)
  )
  select f.conversation_id from found f
  where v_all or f.chatbot_id = any (v_bots) or f.conversation_id = any (v_mine);
end $$;
comment on function private.search_conversations(text) is
  'Finds the conversations within the caller''s company and scope whose messages or customer contain the words. Returns ids; the caller reads the rows under its own policies. Messages that are not drained yet are searched as well. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_conversations(text) to authenticated;
