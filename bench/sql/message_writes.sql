-- 20 companies with 10,000 open conversations, and a copy of messages with all keys and without triggers.
create schema bench;
create function bench.id(p_kind integer, p_number integer) returns uuid language sql immutable as $$
  select ('00000000-0000-7000-80' || lpad(to_hex(p_kind), 2, '0') || '-'
    || lpad(to_hex(p_number), 12, '0'))::uuid
$$;
-- The plan has only a monthly limit, which is counted and never reached.
insert into companies (id, name, slug, email, subscription_plan, monthly_message_limit, max_chatbots,
  max_users, max_integrations, max_document_characters, max_storage_mb, max_hitl_concurrent)
select bench.id(1, c), 'c', 'bench-' || c, 'c' || c || '@bench.example', 'enterprise', 1000000000,
  -1, -1, -1, -1, -1, -1
from generate_series(0, 19) c;
insert into users (company_id, id, email, first_name, last_name, role, is_owner)
select bench.id(1, c), bench.id(2, c), 'o@bench.example', 'o', 'o', 'owner', true
from generate_series(0, 19) c;
insert into chatbots (company_id, id, name, system_prompt, created_by)
select bench.id(1, c), bench.id(3, c), 'b', 'p', bench.id(2, c) from generate_series(0, 19) c;
insert into channel_accounts
  (company_id, id, chatbot_id, channel, routing_id, display_name, secret_digest)
select bench.id(1, c), bench.id(4, c), bench.id(3, c), 'telegram', 'tg-bench-' || c, 'b',
  sha256('secret'::bytea)
from generate_series(0, 19) c;
insert into channel_accounts (company_id, id, chatbot_id, channel, routing_id, display_name)
values (bench.id(1, 0), bench.id(6, 0), bench.id(3, 0), 'web', 'web-bench', 'b');
insert into conversations
  (company_id, id, chatbot_id, channel_account_id, end_user_id, end_user_name, channel)
select bench.id(1, n % 20), bench.id(5, n), bench.id(3, n % 20), bench.id(4, n % 20),
  (1000000 + n)::text, 'Ana', 'telegram'
from generate_series(0, {customers} - 1) n;
-- The hot company's web chats.
insert into conversations (company_id, id, chatbot_id, channel_account_id, end_user_id, channel)
select bench.id(1, 0), bench.id(7, n), bench.id(3, 0), bench.id(6, 0), 'w' || n, 'web'
from generate_series(0, {chats} - 1) n;

create table bench.twin (like public.messages including defaults including constraints including generated);
do $$
declare
  v_sql text;
begin
  -- The keys and indexes of messages, whatever they are today.
  for v_sql in
    select 'alter table bench.twin add ' || pg_get_constraintdef(k.oid) from pg_constraint k
    where k.conrelid = 'public.messages'::regclass and k.contype in ('p', 'u', 'f')
    union all
    select regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \S+ ON public.messages', 'INDEX ON bench.twin')
    from pg_index i
    where i.indrelid = 'public.messages'::regclass
      and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u'))
  loop
    execute v_sql;
  end loop;
end $$;
create sequence bench.number cache 1000;

-- One batch of p_size events that arrived together, each from a random customer.
create function bench.ingest(p_size integer) returns bigint language sql volatile as $$
  select count(*) from (
    select array_agg('tg-bench-' || n % 20) as routing, array_agg('telegram'::text) as channel,
      array_agg(sha256('secret'::bytea)) as credential, array_agg((1000000 + n)::text) as end_user,
      array_agg('Ana'::text) as name, array_agg('x' || nextval('bench.number')) as external,
      array_agg('text'::text) as kind, array_agg(null::text) as media, array_agg(
        'Hola, ¿a qué hora abren hoy? Quisiera pedir una cita para mañana.'::text) as content
    from (select (random() * ({customers} - 1))::integer as n from generate_series(1, p_size)) g) e,
  private.ingest(e.routing, e.channel, e.credential, e.end_user, e.name, e.external, e.kind,
    e.content, e.media) i
  where i.outcome = 'stored'
$$;
