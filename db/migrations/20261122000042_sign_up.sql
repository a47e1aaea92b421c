-- migrate:up
-- A company begins: a login, the company with the limits of its plan, and its owner, or none of them.
set local role neurant_owner;

create function private.create_login(
  p_email text, p_encrypted_password text, p_is_confirmed boolean default false)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_login uuid;
begin
  insert into auth.users (email, encrypted_password, email_confirmed_at)
  values (lower(p_email), p_encrypted_password, case when p_is_confirmed then now() end)
  returning id into v_login;
  return v_login;
exception when unique_violation then
  return null;
end $$;
comment on function private.create_login(text, text, boolean) is
  'A login for an e-mail address; null where there is one already, however it is written. Definer: auth is closed to everybody, and who signs up is nobody yet.';

create function private.suggest_slug(p_name text) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
  v_base text := coalesce(nullif(btrim(left(
    regexp_replace(lower(extensions.unaccent(p_name)), '[^a-z0-9]+', '-', 'g'), 90), '-'), ''), 'empresa');
  v_number integer := 1;
begin
  while exists (
    select from public.companies c
    where c.slug = case v_number when 1 then v_base else v_base || '-' || v_number end)
  loop
    v_number := v_number + 1;
  end loop;
  return case v_number when 1 then v_base else v_base || '-' || v_number end;
end $$;
comment on function private.suggest_slug(text) is
  'A free short name made of a company''s name; with a number where others have it. Definer: who signs up sees no company.';

create function private.sign_up(
  p_auth_user uuid, p_company_name text, p_slug text, p_email text, p_first_name text,
  p_last_name text, p_plan public.subscription_plan_enum default 'free',
  p_trial_days integer default 0, p_timezone text default 'America/Bogota')
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_login text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_company uuid;
  v_user uuid;
begin
  if v_login is null then
    return query select 'unknown_login', null::uuid, null::uuid;
    return;
  end if;
  if p_trial_days not between 0 and 30 then
    raise exception 'a trial lasts 0 to 30 days' using errcode = 'check_violation';
  end if;
  insert into public.companies (name, slug, email, timezone, monthly_reset_date,
    subscription_plan, subscription_status, subscription_started_at, subscription_ends_at,
    monthly_message_limit, max_chatbots, max_users, max_integrations, max_document_characters,
    max_storage_mb, max_hitl_concurrent, created_by)
  select p_company_name, p_slug, lower(coalesce(p_email, v_login)), p_timezone,
    (now() at time zone p_timezone)::date, p.plan,
    (case when p_trial_days > 0 then 'trialing' else 'active' end)::public.subscription_status_enum,
    now(), case when p_trial_days > 0 then now() + p_trial_days * interval '1 day' end,
    p.monthly_message_limit, p.max_chatbots, p.max_users, p.max_integrations,
    p.max_document_characters, p.max_storage_mb, p.max_hitl_concurrent, p_auth_user
  from public.plans p
  where p.plan = p_plan
  on conflict (slug) do nothing
  returning id into v_company;
  if v_company is null then
    return query select 'slug_taken', null::uuid, null::uuid;
    return;
  end if;
  insert into public.users
    (company_id, auth_user_id, email, first_name, last_name, role, is_owner)
  values (v_company, p_auth_user, v_login, p_first_name, p_last_name, 'owner', true)
  returning id into v_user;
  return query select 'created', v_company, v_user;
end $$;
comment on function private.sign_up(uuid, text, text, text, text, text, public.subscription_plan_enum, integer, text) is
  'A company with the limits of a plan, and its owner: created, slug_taken or unknown_login. A person may own several. Definer: who signs up has no company yet, and no policy could know them.';

create function private.close_company() returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
begin
  if private.user_role() is distinct from 'owner' then
    return 'forbidden';
  end if;
  update public.companies c
  set subscription_status = 'cancelled', subscription_ends_at = now(), next_plan = null,
    plan_change_scheduled_at = null
  where c.id = v_company;
  delete from public.login_sessions s where s.company_id = v_company;
  return 'closed';
end $$;
comment on function private.close_company() is
  'The owner closes the company: nobody gets in any more, nothing is deleted: closed or forbidden. Definer: a company''s status is nobody''s to write by hand.';

create policy router_insert on public.companies for insert to neurant_router with check (true);
create policy router_insert on public.users for insert to neurant_router with check (true);
grant insert on public.companies, public.users to neurant_router;

grant execute on function private.create_login(text, text, boolean), private.suggest_slug(text),
  private.sign_up(uuid, text, text, text, text, text, public.subscription_plan_enum, integer, text)
  to neurant_app;
grant execute on function private.close_company() to authenticated;
alter function private.create_login(text, text, boolean) owner to neurant_router;
alter function private.suggest_slug(text) owner to neurant_router;
alter function private.sign_up(uuid, text, text, text, text, text, public.subscription_plan_enum, integer, text)
  owner to neurant_router;
alter function private.close_company() owner to neurant_router;

reset role;
-- migrate:down
