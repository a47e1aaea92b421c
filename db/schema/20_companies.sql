-- Companies: the tenants.

create table public.industries (
  industry varchar(100) primary key check (industry ~ '^[a-z]+(_[a-z]+)*$'),
  position smallint not null unique
);
comment on table public.industries is
  'Platform table: the industries that a company may choose, in the order in which they are offered. Their names are texts of the catalogue (industries.<industry>).';

alter table public.industries enable row level security, force row level security;
create policy everybody_select on public.industries for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.industries to authenticated, neurant_worker, neurant_router;

create table public.companies (
  id uuid primary key default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  slug varchar(100) not null unique check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  phone varchar(50),
  industry varchar(100),
  size text
    constraint companies_size_check check (size in ('1', '2-10', '11-50', '51-200', '201-1000', '1001+')),
  website varchar(255),
  logo_url text,
  timezone varchar(50) not null default 'America/Bogota' check (private.is_timezone(timezone)),
  subscription_plan public.subscription_plan_enum not null default 'free',
  subscription_status public.subscription_status_enum not null default 'active',
  trial_started_at timestamptz,
  subscription_started_at timestamptz,
  subscription_ends_at timestamptz,
  status_before_closing public.subscription_status_enum,
  ends_before_closing timestamptz,
  monthly_message_limit integer not null default 500 check (monthly_message_limit >= -1),
  monthly_message_count integer not null default 0 check (monthly_message_count >= 0),
  monthly_reset_date date not null default current_date,
  monthly_anchor_day smallint not null
    check (monthly_anchor_day between 1 and 31),
  max_chatbots integer not null default 1 check (max_chatbots >= -1),
  max_users integer not null default 2 check (max_users >= -1),
  max_integrations integer not null default 0 check (max_integrations >= -1),
  max_document_characters integer not null default 0 check (max_document_characters >= -1),
  max_storage_mb integer not null default 0 check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null default 0 check (max_hitl_concurrent >= -1),
  visitor_conversations_per_hour integer,
  current_user_count integer not null default 0 check (current_user_count >= 0),
  current_chatbot_count integer not null default 0 check (current_chatbot_count >= 0),
  current_integration_count integer not null default 0 check (current_integration_count >= 0),
  current_document_characters bigint not null default 0
    check (current_document_characters >= 0),
  current_storage_bytes bigint not null default 0 check (current_storage_bytes >= 0),
  current_hitl_count integer not null default 0 check (current_hitl_count >= 0),
  plan_changed_at timestamptz,
  plan_change_scheduled_at timestamptz,
  next_plan public.subscription_plan_enum,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid references auth.users (id) on delete set null,
  constraint companies_plan_change_check
    check ((next_plan is null) = (plan_change_scheduled_at is null)),
  constraint companies_reset_date_check check (isfinite(monthly_reset_date)),
  constraint companies_subscription_order_check
    check (subscription_ends_at >= subscription_started_at),
  constraint companies_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  constraint companies_logo_check check (private.is_https(logo_url)),
  constraint companies_website_check check (website ~ '^https?://[^[:space:]]+$'),
  constraint companies_industry_fkey
    foreign key (industry) references public.industries (industry),
  constraint companies_visitor_conversations_check
    check (visitor_conversations_per_hour between 1 and 100000),
  constraint companies_name_reads_check
    check (private.reads_as_name(name))
);
comment on column public.companies.size is
  'The number of people in the company, as stated at sign-up.';
comment on column public.companies.trial_started_at is
  'Set once: a company that has tried a plan pays for the next one.';
comment on column public.companies.subscription_ends_at is
  'When the current status ends: the trial, the paid period of a cancelled subscription, or the 14 days of past_due. For inactive and cancelled: since when. Null: no end is set.';
comment on column public.companies.status_before_closing is
  'The status that reopening restores, together with ends_before_closing; null while the company is open.';
comment on column public.companies.monthly_message_limit is
  'Maximum of bot messages a month; -1: unlimited. It is never exceeded, not even by one (private.track_message_usage).';
comment on column public.companies.monthly_message_count is
  'Bot messages of the current month as of the last drain (private.drain_message_usage, every minute). private.message_usage returns the number that is exact at commit.';
comment on column public.companies.monthly_reset_date is
  'First day of the current month, in the company''s timezone.';
comment on column public.companies.monthly_anchor_day is
  'Day of the month on which a new month begins. 31 stays 31 after a February.';
comment on column public.companies.max_users is
  'Maximum of active users and pending invitations together, including the owner; -1: unlimited.';
comment on column public.companies.max_storage_mb is
  'Maximum in units of 1,048,576 bytes, as for every size that the product shows; -1: unlimited.';
comment on column public.companies.max_hitl_concurrent is
  'Maximum of conversations attended by people at one time; others may wait in the queue. 0: no people at all, and the bot hands nothing over; -1: unlimited.';
comment on column public.companies.visitor_conversations_per_hour is
  'Maximum of new conversations of web chat visitors in an hour. Null: the number of the company''s plan.';
comment on column public.companies.current_user_count is
  'Seats in use: active users and pending invitations, so that every invitation that was sent can be accepted. Exact at commit. An expired invitation counts until it is marked as expired, which happens every minute and before a seat is refused. Maintained by triggers.';
comment on column public.companies.current_chatbot_count is
  'Chatbots that are not retired. Exact at commit; maintained by a trigger, never written by hand.';
comment on column public.companies.current_integration_count is
  'Active integrations. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_document_characters is
  'Characters of the documents that are not retired, counted from the start of their reading. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_storage_bytes is
  'Bytes of the files of documents that are not retired. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_hitl_count is
  'Conversations that a person attends now (hitl_sessions with status active; waiting ones do not count). Exact at commit; maintained by a trigger.';
comment on column public.companies.next_plan is
  'A smaller plan that begins at plan_change_scheduled_at, or later, when the company''s use fits in it.';
create index companies_created_by_idx on public.companies (created_by);
create index companies_plan_change_idx on public.companies (plan_change_scheduled_at)
  where next_plan is not null;
create index companies_industry_idx on public.companies (industry) where industry is not null;

alter table public.companies enable row level security, force row level security;
create policy staff_select on public.companies for select to authenticated
  using (id = (select private.company_id('company.read')));
create policy staff_update on public.companies for update to authenticated
  using (id = (select private.company_id('company.edit')))
  with check (id = (select private.company_id('company.edit')));
create policy worker_select on public.companies for select to neurant_worker
  using (id = (select private.company_id()));
-- Policies of the router, which owns the security definer functions: exactly the tables and
-- commands that these functions need.
create policy router_select on public.companies for select to neurant_router using (true);
create policy router_insert on public.companies for insert to neurant_router with check (true);
create policy router_update on public.companies for update to neurant_router
  using (true) with check (true);
grant select on public.companies to authenticated, neurant_worker;
grant update (name, email, phone, industry, size, website, logo_url, timezone,
  visitor_conversations_per_hour) on public.companies to authenticated;
grant select, insert on public.companies to neurant_router;
grant update (phone, industry, size, website, subscription_plan, subscription_status,
  trial_started_at, subscription_started_at, subscription_ends_at, status_before_closing,
  ends_before_closing, monthly_message_limit, monthly_message_count, monthly_reset_date,
  max_chatbots, max_users, max_integrations, max_document_characters, max_storage_mb,
  max_hitl_concurrent, current_user_count, current_chatbot_count, current_integration_count,
  current_document_characters, current_storage_bytes, current_hitl_count, plan_changed_at,
  plan_change_scheduled_at, next_plan, updated_at) on public.companies to neurant_router;

select private.audit_table('public.companies', 'id',
  '{timezone,subscription_plan,subscription_status,subscription_started_at,
    subscription_ends_at,monthly_message_limit,monthly_reset_date,monthly_anchor_day,
    max_chatbots,max_users,max_integrations,max_document_characters,max_storage_mb,
    max_hitl_concurrent,plan_changed_at,plan_change_scheduled_at,next_plan,created_by,
    status_before_closing,ends_before_closing,size,trial_started_at,
    visitor_conversations_per_hour}',
  '{name,slug,industry,website,logo_url,email,phone}',
  '{}',
  '{monthly_message_count,current_user_count,current_chatbot_count,
    current_integration_count,current_document_characters,current_storage_bytes,
    current_hitl_count,created_at,updated_at}');

create trigger set_updated_at before update on public.companies
  for each row execute function private.update_updated_at_column();

create table public.company_keys (
  company_id uuid primary key references public.companies (id),
  wrapped_key bytea not null,
  created_at timestamptz not null default now()
);
comment on table public.company_keys is
  'The AES-256 key of each company, wrapped by the master key, which is never in the database.';

alter table public.company_keys enable row level security, force row level security;
-- Staff who may store a secret of the company read its key; the key is created before it is needed.
create policy staff_select on public.company_keys for select to authenticated
  using (company_id = (select private.company_id('company.read'))
    and (select private.manages_company()));
create policy staff_insert on public.company_keys for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy worker_select on public.company_keys for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.company_keys for select to neurant_router using (true);
grant select on public.company_keys to authenticated, neurant_worker, neurant_router;
grant insert (company_id, wrapped_key) on public.company_keys to authenticated;

select private.audit_table('public.company_keys', 'company_id',
  '{}',
  '{}',
  '{wrapped_key}',
  '{created_at}');

create table private.master_key_print (
  is_there boolean primary key default true check (is_there),
  fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
  noted_at timestamptz not null default now()
);
comment on table private.master_key_print is
  'One row: an HMAC made with the master key of the first process that had one. It decrypts nothing; it detects a process with another key.';

alter table private.master_key_print enable row level security, force row level security;
create policy router_select on private.master_key_print for select to neurant_router using (true);
create policy router_insert on private.master_key_print for insert to neurant_router with check (true);
grant select, insert on private.master_key_print to neurant_router;

create function private.list_industries() returns table (industry text)
language sql stable security definer set search_path = '' as $$
  select i.industry from public.industries i order by i.position
$$;
comment on function private.list_industries() is
  'Returns the industries in their order. Security definer, called by staff and API keys and the web process, because a person who signs up has no company, so no policy could admit the person.';
grant execute on function private.list_industries() to authenticated, neurant_app;

create function private.note_closing() returns trigger
language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' and old.subscription_status <> 'cancelled' then
    new.status_before_closing := old.subscription_status;
    new.ends_before_closing := old.subscription_ends_at;
  end if;
  -- The end of a trial that was over long ago is not when the company was closed.
  if new.subscription_ends_at is null or tg_op = 'UPDATE'
    and old.subscription_status <> 'cancelled'
    and new.subscription_ends_at is not distinct from old.subscription_ends_at then
    new.subscription_ends_at := now();
  end if;
  return new;
end $$;
comment on function private.note_closing() is
  'Notes when a company was closed and its status before, whichever statement closed it.';

create trigger note_closing before insert or update of subscription_status, subscription_ends_at
  on public.companies
  for each row when (new.subscription_status = 'cancelled')
  execute function private.note_closing();

create function private.close_company() returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.close');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  update public.companies c
  set subscription_status = 'cancelled', subscription_ends_at = now(), next_plan = null,
    plan_change_scheduled_at = null
  where c.id = v_company and c.subscription_status <> 'cancelled';
  if not found then
    return 'closed_before';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = now()
  where r.company_id = v_company and r.status = 'pending';
  perform private.notify_users(v_company, '{owner,administrador}', 'company_closed',
    jsonb_build_object('at', now() + interval '30 days'));
  return 'closed';
end $$;
comment on function private.close_company() is
  'The owner closes the company. For 30 days the staff may read and export, and the owner may reopen it; channels accept nothing, and nothing is deleted. Outcome: closed, closed_before or forbidden. Security definer, called by staff and API keys, because no role may write a company''s status directly.';
grant execute on function private.close_company() to authenticated;

create function private.reopen_company(p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('company.close')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status <> 'cancelled' then
    return 'not_closed';
  elsif v_company.subscription_ends_at <= p_now - interval '30 days' then
    return 'too_late';
  end if;
  update public.companies c
  set subscription_status = coalesce(v_company.status_before_closing, 'inactive'),
    subscription_ends_at = case when v_company.status_before_closing is null then p_now
      else v_company.ends_before_closing end,
    status_before_closing = null, ends_before_closing = null
  where c.id = v_company.id;
  perform private.drop_stale_work(v_company.id, p_now);
  perform private.notify_users(v_company.id, '{owner,administrador}', 'company_reopened', '{}');
  return 'reopened';
end $$;
comment on function private.reopen_company(timestamptz) is
  'The owner reopens a closed company within 30 days, with the status it had; a trial or paid period that ended meanwhile ends within a minute. Outcome: reopened, not_closed, too_late or forbidden. Security definer, called by staff and API keys, because no role may write a company''s status directly.';
grant execute on function private.reopen_company(timestamptz) to authenticated;

create function private.is_master_key(p_fingerprint text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if not exists (select from private.master_key_print) then
    insert into private.master_key_print (fingerprint) values (p_fingerprint) on conflict do nothing;
  end if;
  return exists (select from private.master_key_print m where m.fingerprint = p_fingerprint);
end $$;
comment on function private.is_master_key(text) is
  'Returns whether this is the fingerprint of the master key that protects the secrets; the first fingerprint ever passed is recorded as the right one. Security definer, called by the web process and the worker process, because a process acts for no company.';
grant execute on function private.is_master_key(text) to neurant_app, neurant_jobs;
