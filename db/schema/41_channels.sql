-- Channels: the accounts by which people reach bots.

create table public.channel_accounts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel public.conversation_channel_enum not null,
  routing_id varchar(100) not null unique check (routing_id ~ '^[A-Za-z0-9_-]{8,100}$'),
  display_name varchar(255) not null,
  status text not null default 'connected' check (status in ('connected', 'paused', 'error', 'disconnected')),
  status_detail text,
  secret_digest bytea check (octet_length(secret_digest) = 32),
  secrets_encrypted bytea,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (channel = 'web' or secret_digest is not null),
  constraint channel_accounts_name_reads_check
    check (private.reads_as_name(display_name))
);
comment on table public.channel_accounts is
  'One row per connected Telegram bot, WhatsApp number, Slack workspace or web chat.';
comment on column public.channel_accounts.routing_id is
  'The identifier in the address that the channel or the page calls. It is unique across companies, because it determines the company.';
comment on column public.channel_accounts.secret_digest is
  'SHA-256 of the secret that authenticates the channel; the secret itself is not stored.';
create index channel_accounts_chatbot_idx on public.channel_accounts (company_id, chatbot_id);

alter table public.channel_accounts enable row level security, force row level security;
create policy staff_select on public.channel_accounts for select to authenticated
  using (company_id = (select private.company_id('channels.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.channel_accounts for insert to authenticated
  with check (company_id = (select private.company_id('channels.manage')));
create policy staff_update on public.channel_accounts for update to authenticated
  using (company_id = (select private.company_id('channels.manage')))
  with check (company_id = (select private.company_id('channels.manage')));
create policy worker_select on public.channel_accounts for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.channel_accounts for select to neurant_router using (true);
create policy router_update on public.channel_accounts for update to neurant_router using (true) with check (true);
grant select (company_id, id, chatbot_id, channel, routing_id, display_name, status,
  status_detail, created_at, updated_at) on public.channel_accounts to authenticated;
grant insert (company_id, id, chatbot_id, channel, routing_id, display_name, secret_digest,
  secrets_encrypted) on public.channel_accounts to authenticated;
grant update (display_name, status, status_detail, secret_digest, secrets_encrypted) on
  public.channel_accounts to authenticated;
grant select on public.channel_accounts to neurant_worker, neurant_router;
grant update (status, status_detail) on public.channel_accounts to neurant_router;

select private.audit_table('public.channel_accounts', 'id',
  '{chatbot_id,channel,status}',
  '{routing_id,display_name,status_detail}',
  '{secret_digest,secrets_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.channel_accounts
  for each row execute function private.update_updated_at_column();

create trigger allow_channel after insert or update of status, channel on public.channel_accounts
  for each row when (new.status in ('connected', 'error')) execute function private.allow_channel();

create function private.derive_chatbot_channels() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_row record := coalesce(new, old);
begin
  update public.chatbots b set channels = coalesce((
    select jsonb_agg(distinct a.channel order by a.channel)
    from public.channel_accounts a
    where a.company_id = b.company_id and a.chatbot_id = b.id and a.status = 'connected'), '[]')
  where b.company_id = v_row.company_id and b.id = v_row.chatbot_id;
  return null;
end $$;
comment on function private.derive_chatbot_channels() is
  'Sets chatbots.channels from channel_accounts. Security definer, called by a trigger, because no role may write this column directly.';

create trigger derive_chatbot_channels after insert or update or delete on public.channel_accounts
  for each row execute function private.derive_chatbot_channels();

create function private.prove_webhook(p_routing_id text, p_credential bytea) returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select case when a.secret_digest = p_credential then 'genuine' else 'refused' end
    from public.channel_accounts a
    join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
    where a.routing_id = p_routing_id and a.status = 'connected'), 'unknown')
$$;
comment on function private.prove_webhook(text, bytea) is
  'Returns whether a caller with an unreadable body is the channel at all: genuine, refused or unknown. Security definer, called by the web process, because webhooks belong to no principal.';
grant execute on function private.prove_webhook(text, bytea) to neurant_app;

create function private.web_chat(p_routing_id text)
returns table (company_name text, chatbot_name text, description text, language text,
  persona text, tone text, address text, style text, timezone text, avatar_url text,
  has_people boolean)
language sql stable security definer set search_path = '' as $$
  select c.name, b.name, b.description, b.personality_traits ->> 'language',
    b.personality_traits ->> 'persona', b.personality_traits ->> 'tone',
    b.personality_traits ->> 'address', b.personality_traits ->> 'style', b.timezone, b.avatar_url,
    b.hitl_enabled and b.hitl_triggers @> '["user_request"]' and c.max_hitl_concurrent <> 0
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  join public.chatbots b on b.company_id = a.company_id and b.id = a.chatbot_id
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
    and b.retired_at is null
$$;
comment on function private.web_chat(text) is
  'Returns the public data of a web chat: the names of the company and the bot, persona, tone, form of address, style, time zone, picture, and whether a person can be requested. Security definer, called by the web process, because the reader is not signed in.';
grant execute on function private.web_chat(text) to neurant_app;

create function private.queued_line(
  p_company uuid, p_chatbot uuid, p_now timestamptz default now())
returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    -- The clock of the place: what is said later in another zone still says this hour.
    select 'hitl_closed:' || to_char(private.opens_at(b.working_hours, b.timezone, p_now)
      at time zone b.timezone, 'YYYY-MM-DD"T"HH24:MI')
    from public.chatbots b
    where b.company_id = p_company and b.id = p_chatbot and b.working_hours <> '{}'),
    'hitl_queued')
$$;
comment on function private.queued_line(uuid, uuid, timestamptz) is
  'Returns the system line of a waiting handover: hitl_queued, or hitl_closed:<when people are back, in the bot''s time zone>. Security definer, called by other definers only, because the visitor or channel that requested a person may not read bots.';
