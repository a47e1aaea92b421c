-- Mail: the queue of mails, and the addresses that refused mail.

create table public.mails (
  id uuid primary key,
  company_id uuid references public.companies (id),
  to_address text not null check (length(to_address) between 3 and 320 and to_address !~ '[[:space:][:cntrl:]]'),
  template text not null check (template ~ '^[a-z_]+\.[a-z_]+$'),
  language text not null check (language ~ '^[a-z]{2}$'),
  params_encrypted bytea,
  status text not null default 'pending' check (status in ('pending', 'sending', 'sent', 'failed')),
  attempts smallint not null default 0,
  unclear_ends smallint not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text check (length(last_error) <= 300),
  created_at timestamptz not null default now(),
  due_at timestamptz not null default now(),
  sent_at timestamptz,
  constraint mails_params_only_until_settled
    check ((params_encrypted is not null) = (status in ('pending', 'sending'))),
  constraint mails_claimed_while_sending check (
    (claim_token is not null) = (status = 'sending') and (claimed_until is not null) = (status = 'sending')),
  constraint mails_sent_at_when_sent check ((sent_at is not null) = (status = 'sent'))
);
comment on table public.mails is
  'A queue and, for 30 days, a record of the mails that were sent. company_id is null for a mail about a login, which belongs to no company.';
comment on column public.mails.id is
  'Chosen by the process before the row exists, because the parameters are sealed for this id.';
comment on column public.mails.unclear_ends is
  'How often an attempt ended without a known result (the server or the worker failed at the last step). After the second time there are no more attempts.';
create index mails_due_idx on public.mails (due_at) where status = 'pending';
create index mails_sending_idx on public.mails (claimed_until) where status = 'sending';
create index mails_settled_idx on public.mails (created_at) where status in ('sent', 'failed');
-- The newest mail to an address.
create index mails_to_address_idx on public.mails (company_id, to_address, created_at desc)
  where company_id is not null;
-- The invitations that an address received from any company.
create index mails_invitations_idx on public.mails (to_address, created_at)
where template in ('team.invitation', 'team.reminder');

alter table public.mails enable row level security, force row level security;
create policy router_select on public.mails for select to neurant_router using (true);
create policy router_insert on public.mails for insert to neurant_router with check (true);
create policy router_update on public.mails for update to neurant_router using (true) with check (true);
create policy router_delete on public.mails for delete to neurant_router using (true);
grant select, delete on public.mails to neurant_router;
grant insert (id, company_id, to_address, template, language, params_encrypted) on public.mails to
  neurant_router;
grant update (params_encrypted, status, attempts, unclear_ends, claim_token, claimed_until,
  last_error, due_at, sent_at) on public.mails to neurant_router;

create table public.mail_refusals (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  refused_at timestamptz not null default now()
);
comment on table public.mail_refusals is
  'Addresses that want no more invitations, as private.mail_key(''invitation'', address), so that no address is stored.';

alter table public.mail_refusals enable row level security, force row level security;
create policy router_select on public.mail_refusals for select to neurant_router using (true);
create policy router_insert on public.mail_refusals for insert to neurant_router with check (true);
create policy router_delete on public.mail_refusals for delete to neurant_router using (true);
grant select, insert, delete on public.mail_refusals to neurant_router;

create function private.queue_mail(
  p_new_id uuid, p_company uuid, p_to text, p_template text, p_language text,
  p_params_encrypted bytea) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_company is not null and current_setting('role') in ('authenticated', 'neurant_worker')
    and p_company is distinct from private.company_id()
  then
    raise exception 'mail is queued for one''s own company' using errcode = 'insufficient_privilege';
  end if;
  if p_template in ('team.invitation', 'team.reminder') then
    perform private.check_invitation_mail(p_company, p_to, p_template = 'team.reminder');
  end if;
  insert into public.mails (id, company_id, to_address, template, language, params_encrypted)
  values (p_new_id, p_company, p_to, p_template, p_language, p_params_encrypted);
end $$;
comment on function private.queue_mail(uuid, uuid, text, text, text, bytea) is
  'Queues a mail, which is sent when the caller''s transaction commits, and never if it does not. An invitation above the limits, or to an address that wants none, raises NA007 (private.check_invitation_mail). Security definer, called by staff and API keys, the worker for one company, the web process and the worker process, because no role that serves tenants may read waiting mails.';
grant execute on function private.queue_mail(uuid, uuid, text, text, text, bytea) to
  authenticated, neurant_worker, neurant_app, neurant_jobs;

create function private.settle_mail(
  p_mail uuid, p_token uuid, p_outcome text, p_error text default null,
  p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_mail public.mails;
  v_due timestamptz;
  v_status text;
begin
  select m.* into v_mail from public.mails m
  where m.id = p_mail and m.claim_token = p_token and m.status = 'sending' for update;
  if v_mail.id is null then
    return 'lost';
  end if;
  v_due := p_now + least(interval '30 seconds' * (4 ^ least(v_mail.attempts - 1, 5)), interval '2 hours');
  v_status := case
    when p_outcome = 'sent' then 'sent'
    when p_outcome = 'later' and v_due < v_mail.created_at + interval '1 day' then 'pending'
    when p_outcome = 'unclear' and v_mail.unclear_ends = 0 then 'pending'
    else 'failed' end;
  update public.mails m
  set status = v_status, claim_token = null, claimed_until = null,
    last_error = case when p_outcome <> 'sent' then left(p_error, 300) end,
    unclear_ends = m.unclear_ends + (p_outcome = 'unclear')::integer,
    due_at = case when v_status = 'pending' then v_due else m.due_at end,
    sent_at = case when v_status = 'sent' then p_now end,
    params_encrypted = case when v_status = 'pending' then m.params_encrypted end
  where m.id = p_mail;
  if v_status = 'failed' and v_mail.company_id is not null then
    perform private.notify_users(v_mail.company_id, '{owner,administrador}', 'mail_failed',
      jsonb_build_object('mail_id', p_mail, 'template', v_mail.template, 'to', v_mail.to_address));
  end if;
  return v_status;
end $$;
comment on function private.settle_mail(uuid, uuid, text, text, timestamptz) is
  'Records the result of an attempt (sent, later, unclear, refused). Outcome: sent, pending (retried after 30 seconds, then four times as long each time up to two hours, for a day; once after an unclear result), failed (owner and administradores of the company are notified), or lost (another worker holds it). Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.settle_mail(uuid, uuid, text, text, timestamptz) to
  neurant_jobs;

create function private.claim_mails(
  p_most integer, p_lease interval, p_now timestamptz default now())
returns table (
  mail_id uuid, to_address text, template text, language text, params_encrypted bytea,
  created_at timestamptz, claim_token uuid)
language plpgsql security definer set search_path = '' as $$
begin
  -- Whose worker died may have left: that counts as an unclear end.
  perform private.settle_mail(m.id, m.claim_token, 'unclear', 'worker lost', p_now)
  from (
    select d.id, d.claim_token from public.mails d
    where d.status = 'sending' and d.claimed_until <= p_now
    for update skip locked) m;
  return query
  with due as (
    select d.id from public.mails d
    where d.status = 'pending' and d.due_at <= p_now
    order by d.due_at limit p_most
    for update skip locked
  )
  update public.mails m
  set status = 'sending', attempts = least(m.attempts + 1, 1000), claim_token = gen_random_uuid(),
    claimed_until = p_now + p_lease
  from due
  where m.id = due.id
  returning m.id, m.to_address, m.template, m.language, m.params_encrypted, m.created_at,
    m.claim_token;
end $$;
comment on function private.claim_mails(integer, interval, timestamptz) is
  'Leases mails that are due to one worker. Security definer, called by the worker process, because it works on all companies; the parameters stay sealed.';
grant execute on function private.claim_mails(integer, interval, timestamptz) to neurant_jobs;

create function private.next_mail_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select least(
    (select min(m.due_at) from public.mails m where m.status = 'pending'),
    (select min(m.claimed_until) from public.mails m where m.status = 'sending'))
$$;
comment on function private.next_mail_due() is
  'Returns when a mail is due next, or null. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.next_mail_due() to neurant_jobs;

create function private.drop_old_mails(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_gone integer;
begin
  delete from public.mails m
  where m.status in ('sent', 'failed') and m.created_at < p_now - interval '30 days';
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;
comment on function private.drop_old_mails(timestamptz) is
  'Deletes the mails that are older than 30 days; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.drop_old_mails(timestamptz) to neurant_jobs;

create function private.take_plan_mails(p_kinds text[], p_now timestamptz default now())
returns table (company_id uuid, company_name text, timezone text, to_address text, first_name text,
  kind text, details jsonb, language text)
language sql volatile security definer set search_path = '' as $$
  with due as (
    select n.company_id, n.id from public.notifications n
    where n.kind = any (p_kinds) and n.mailed_at is null
      and n.created_at between p_now - interval '1 day' and p_now
    order by n.created_at, n.id limit 50
    for update skip locked
  ),
  taken as (
    update public.notifications n set mailed_at = p_now
    from due where n.company_id = due.company_id and n.id = due.id
    returning n.company_id, n.user_id, n.kind, n.details
  )
  select t.company_id, c.name::text, c.timezone::text, u.email::text, u.first_name::text, t.kind,
    t.details, (
      select i.language from public.user_invitations i
      where i.company_id = u.company_id and i.accepted_by_user_id = u.id
      order by i.accepted_at desc limit 1)
  from taken t
  join public.companies c on c.id = t.company_id
  join public.users u on u.company_id = t.company_id and u.id = t.user_id and u.is_active
$$;
comment on function private.take_plan_mails(text[], timestamptz) is
  'Returns the notifications of these kinds that are not mails yet and not older than a day, to be queued as mails in the same transaction. language: that of the person''s invitation, if there was one. Security definer, called by the worker process, because it works on all companies, and no other role may read other people''s notifications.';
grant execute on function private.take_plan_mails(text[], timestamptz) to neurant_jobs;
